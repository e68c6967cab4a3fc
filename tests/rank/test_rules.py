"""Filters: one mask over the catalog, the same as asking item by item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.catalog import CatalogColumns
from vitrina.rank.rules import Filters, compile_filter

CATEGORIES = ["DAIRY", "DAIRY > MILK", "DAIRY > MILK > GOAT", "FOOD", "FOOD > MILK"]
BRANDS = ["Acme", "acme foods", "Borealis"]
PATHS = {
    name: [CATEGORIES.index(part) for part in parts]
    for name, parts in {
        "goat": ["DAIRY", "DAIRY > MILK", "DAIRY > MILK > GOAT"],
        "milk": ["DAIRY", "DAIRY > MILK"],
        "dairy": ["DAIRY"],
        "plant": ["FOOD", "FOOD > MILK"],
        "none": [],
    }.items()
}

price = st.one_of(st.none(), st.integers(0, 5).map(float))
item = st.tuples(
    price, st.booleans(), st.sampled_from(sorted(PATHS)), st.sampled_from([-1, 0, 1, 2])
)
Item = tuple[float | None, bool, str, int]

filters = st.builds(
    Filters,
    categories=st.lists(st.sampled_from([*CATEGORIES, "dairy>milk", "GONE"]), max_size=2),
    brands=st.lists(st.sampled_from([*BRANDS, "ACME", "Gone"]), max_size=2),
    min_price=price,
    max_price=price,
    available_only=st.booleans(),
)


def columns(items: list[Item]) -> CatalogColumns:
    return CatalogColumns(
        price=np.array([np.nan if p is None else p for p, *_ in items], np.float32),
        available=np.array([available for _, available, _, _ in items], np.bool_),
        category=np.array([(PATHS[path] + [-1] * 3)[:3] for *_, path, _ in items], np.int32),
        brand=np.array([brand for *_, brand in items], np.int32),
        categories=CATEGORIES,
        brands=BRANDS,
    )


def passes(asked: Filters, item: Item) -> bool:
    cost, available, path, brand = item
    if asked.available_only and not available:
        return False
    if asked.categories:
        wanted = {c.casefold().replace(" > ", ">") for c in asked.categories}
        if not wanted & {CATEGORIES[code].casefold().replace(" > ", ">") for code in PATHS[path]}:
            return False
    if asked.brands:
        name = None if brand < 0 else BRANDS[brand].casefold()
        if name not in {wanted.casefold() for wanted in asked.brands}:
            return False
    if asked.min_price is not None and not (cost is not None and cost >= asked.min_price):
        return False
    return asked.max_price is None or (cost is not None and cost <= asked.max_price)


@given(filters, st.lists(item, min_size=1, max_size=12))
def test_the_mask_is_what_asking_each_item_gives(asked: Filters, items: list[Item]) -> None:
    mask = compile_filter(asked, columns(items))
    expected = [passes(asked, item) for item in items]
    if mask is None:
        assert all(expected)
    else:
        assert mask.dtype == np.bool_
        assert mask.tolist() == expected


SHELF: list[Item] = [
    (1.0, True, "goat", 0),
    (2.0, True, "plant", 1),
    (None, True, "milk", 2),
    (3.0, False, "dairy", -1),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Filters(), [0, 1, 2]),
        (Filters(categories=["dairy"], available_only=False), [0, 2, 3]),
        (Filters(categories=["Dairy>Milk"]), [0, 2]),
        (Filters(categories=["MILK"]), []),
        (Filters(brands=["ACME"]), [0]),
        (Filters(min_price=0), [0, 1]),
        (Filters(min_price=2, max_price=2), [1]),
    ],
)
def test_what_a_shopper_asks_for(asked: Filters, expected: list[int]) -> None:
    mask = compile_filter(asked, columns(SHELF))
    assert mask is not None
    assert np.flatnonzero(mask).tolist() == expected


def test_no_filter_at_all_costs_no_mask() -> None:
    everything = columns(SHELF[:3])
    assert compile_filter(Filters(), everything) is None
    assert compile_filter(Filters(available_only=False), columns(SHELF)) is None
