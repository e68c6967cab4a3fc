"""Filters: one mask over the catalog, the same as asking item by item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.errors import DataError
from vitrina.filters import Facet, Filters, ItemAttributes, compile_filter

CATEGORIES = ["DAIRY", "DAIRY > MILK", "DAIRY > MILK > GOAT", "FOOD", "FOOD > MILK"]
BRANDS = ["Acme", "acme foods", "Borealis"]
CONDITIONS = ["New", "new", "used"]
LOCATIONS = ["Nantes", "NANTES", "Saint-Étienne"]
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
code = st.sampled_from([-1, 0, 1, 2])
item = st.tuples(price, st.booleans(), st.sampled_from(sorted(PATHS)), code, code, code)
Item = tuple[float | None, bool, str, int, int, int]
"""Price, availability, path, and the codes of brand, condition and location."""

filters = st.builds(
    Filters,
    categories=st.lists(st.sampled_from([*CATEGORIES, "dairy>milk", "GONE"]), max_size=2),
    brands=st.lists(st.sampled_from([*BRANDS, "ACME", "Gone"]), max_size=2),
    conditions=st.lists(st.sampled_from([*CONDITIONS, "Gone"]), max_size=2),
    locations=st.lists(st.sampled_from([*LOCATIONS, "SAINT-ÉTIENNE"]), max_size=2),
    min_price=price,
    max_price=price,
    available_only=st.booleans(),
)


def columns(items: list[Item]) -> ItemAttributes:
    levels = [(PATHS[path] + [-1] * 3)[:3] for _, _, path, *_ in items]
    return ItemAttributes(
        item_ids=[str(row) for row in range(len(items))],
        price=np.array([np.nan if p is None else p for p, *_ in items], np.float32),
        available=np.array([available for _, available, *_ in items], np.bool_),
        facets={
            "category": Facet(np.array(levels, np.int32), CATEGORIES),
            "brand": Facet(np.array([brand for *_, brand, _, _ in items], np.int32), BRANDS),
            "condition": Facet(np.array([held for *_, held, _ in items], np.int32), CONDITIONS),
            "location": Facet(np.array([place for *_, place in items], np.int32), LOCATIONS),
        },
    )


def passes(asked: Filters, item: Item) -> bool:
    cost, available, path, *codes = item
    if asked.available_only and not available:
        return False
    if asked.categories:
        paths = {c.casefold().replace(" > ", ">") for c in asked.categories}
        if not paths & {CATEGORIES[code].casefold().replace(" > ", ">") for code in PATHS[path]}:
            return False
    asked_names = (asked.brands, asked.conditions, asked.locations)
    for wanted, names, code in zip(
        asked_names, (BRANDS, CONDITIONS, LOCATIONS), codes, strict=True
    ):
        name = None if code < 0 else names[code].casefold()
        if wanted and name not in {each.casefold() for each in wanted}:
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
    (1.0, True, "goat", 0, 0, 0),
    (2.0, True, "plant", 1, 1, 1),
    (None, True, "milk", 2, 2, 2),
    (3.0, False, "dairy", -1, -1, -1),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Filters(), [0, 1, 2]),
        (Filters(categories=["dairy"], available_only=False), [0, 2, 3]),
        (Filters(categories=["Dairy>Milk"]), [0, 2]),
        (Filters(categories=["MILK"]), []),
        (Filters(brands=["ACME"]), [0]),
        (Filters(conditions=["NEW"]), [0, 1]),
        (Filters(locations=["nantes", "saint-étienne"]), [0, 1, 2]),
        (Filters(locations=["Nantes"], conditions=["used"]), []),
        (Filters(min_price=0), [0, 1]),
        (Filters(min_price=2, max_price=2), [1]),
        (Filters(allow=["1", "3", "gone"]), [1]),
        (Filters(allow=[]), []),
        (Filters(deny=["1", "gone"]), [0, 2]),
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


def test_filters_cannot_change_whatever_they_were_made_of() -> None:
    brands = ["Acme"]
    asked = Filters(brands=brands)
    brands.append("Borealis")
    assert asked == Filters(brands=("Acme",))
    assert hash(asked) == hash(Filters(brands=("Acme",)))


def test_what_cannot_be_filtered_by_is_named() -> None:
    with pytest.raises(DataError, match=r"no column 'tag' to filter by.* brand, category"):
        compile_filter(Filters(tags=["bio"]), columns(SHELF))
    with pytest.raises(DataError, match="max_price is NaN"):
        Filters(max_price=float("nan"))


def test_documents_have_the_names_that_are_compared() -> None:
    assert columns(SHELF).documents(slice(0, 3, 2)) == [
        {
            "item_id": "0",
            "price": 1.0,
            "available": True,
            "category": ["dairy", "dairy > milk", "dairy > milk > goat"],
            "brand": "acme",
            "condition": "new",
            "location": "nantes",
        },
        {
            "item_id": "2",
            "price": None,
            "available": True,
            "category": ["dairy", "dairy > milk"],
            "brand": "borealis",
            "condition": "used",
            "location": "saint-étienne",
        },
    ]
