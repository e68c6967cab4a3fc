"""The catalog snapshot: codes for filters, JSON for answers, odd rows survived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.bundle import Bundle
from vitrina.bundle.catalog import FACETS, Catalog, encode_catalog
from vitrina.errors import DataError
from vitrina.schema import CATEGORY_SEPARATOR, Item

SOUP = {
    "item_id": "a",
    "title": "Tomato soup",
    "category_path": "GROCERY > SOUP > CANNED > RED",
    "price": 1.5,
    "brand": "Acme",
    "available": True,
    "attributes": '{"size":"10 OZ"}',
    "created_at": 123,
}


def catalog_of(items: list[dict[str, Any]], folder: Path) -> Catalog:
    columns, lines, offsets = encode_catalog(items)
    (folder / "catalog.jsonl").write_bytes(lines)
    return Catalog(columns, folder / "catalog.jsonl", offsets)


def test_an_item_comes_back_as_it_went_in(tmp_path: Path) -> None:
    catalog = catalog_of([SOUP, {"item_id": "b"}], tmp_path)
    assert catalog.item(0) == Item(
        item_id="a",
        title="Tomato soup",
        category_path=["GROCERY", "SOUP", "CANNED", "RED"],
        price=1.5,
        brand="Acme",
        attributes={"size": "10 OZ"},
    )
    assert catalog.item(1) == Item(item_id="b", category_path=[])


@pytest.mark.parametrize("price", [None, float("nan"), float("inf")])
def test_unknown_fields_are_left_out_of_the_json(tmp_path: Path, price: float | None) -> None:
    catalog = catalog_of([{"item_id": "b", "price": price, "brand": None}], tmp_path)
    assert orjson.loads(catalog.blob(0)) == {
        "item_id": "b",
        "available": True,
        "category_path": [],
    }
    assert np.isnan(catalog.price[0])
    assert catalog.facets["brand"].codes[0] == -1


def test_a_free_item_keeps_its_price_and_a_sold_out_one_its_state(tmp_path: Path) -> None:
    catalog = catalog_of([{"item_id": "b", "price": 0.0, "available": False}], tmp_path)
    assert catalog.item(0).price == 0.0
    assert not catalog.item(0).available
    assert not catalog.available[0]


def test_every_level_of_a_path_has_its_code(tmp_path: Path) -> None:
    catalog = catalog_of([SOUP, {"item_id": "b", "category_path": "GROCERY"}], tmp_path)
    assert catalog.categories == ["GROCERY", "GROCERY > SOUP", "GROCERY > SOUP > CANNED"]
    assert catalog.category.tolist() == [[0, 1, 2], [0, -1, -1]]


def test_a_path_written_carelessly_is_the_same_path(tmp_path: Path) -> None:
    paths = ["A > B", " A>B ", "A > > B", "A > B > "]
    items = [{"item_id": str(i), "category_path": path} for i, path in enumerate(paths)]
    catalog = catalog_of(items, tmp_path)
    assert catalog.categories == ["A", "A > B"]
    assert (catalog.category == [0, 1, -1]).all()


@pytest.mark.parametrize("attributes", ["{", "[1]", "null", "12"])
def test_attributes_that_are_no_object_are_refused_by_item(attributes: str) -> None:
    with pytest.raises(DataError, match="Item 'a': attributes must be a JSON object"):
        encode_catalog([{"item_id": "a", "attributes": attributes}])


_level = st.text(st.characters(codec="utf-8", exclude_characters=">"), min_size=1).filter(str.strip)
_row = st.fixed_dictionaries(
    {"item_id": st.text(st.characters(codec="utf-8"), min_size=1)},
    optional={
        "title": st.none() | st.text(st.characters(codec="utf-8")),
        "category_path": st.none() | st.lists(_level, max_size=5).map(CATEGORY_SEPARATOR.join),
        "price": st.none() | st.floats(0, 1e6, width=32),
        **{field: st.none() | st.text(st.characters(codec="utf-8")) for field in FACETS},
        "available": st.none() | st.booleans(),
    },
)


@given(st.lists(_row, min_size=1, max_size=12))
def test_codes_and_json_always_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    catalog = catalog_of(rows, tmp_path_factory.mktemp("catalog"))
    assert len(catalog) == len(rows)
    for row, given_row in enumerate(rows):
        item = catalog.item(row)
        assert item.item_id == given_row["item_id"]
        assert item.title == (given_row.get("title") or "")
        assert item.available == catalog.available[row]
        for field in FACETS:
            facet = catalog.facets[field]
            code = facet.codes[row]
            assert (facet.names[code] if code >= 0 else None) == getattr(item, field)
        for level, code in enumerate(catalog.category[row]):
            path = CATEGORY_SEPARATOR.join(item.category_path[: level + 1])
            expected = path if level < len(item.category_path) else None
            assert (catalog.categories[code] if code >= 0 else None) == expected


def test_the_shop_has_items_of_every_kind(bundle: Bundle) -> None:
    catalog = bundle.catalog
    assert np.isnan(catalog.price).any()
    assert all((facet.codes == -1).any() for facet in catalog.facets.values())
    assert not catalog.available.all()
    assert [catalog.item(row).item_id for row in (0, 150, 299)] == [
        bundle.item_ids[row] for row in (0, 150, 299)
    ]
