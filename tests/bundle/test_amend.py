"""A bundle amended by its shop: what filters, lists and answers read is as the shop says now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.amend import amend
from vitrina.bundle.bundle import Bundle
from vitrina.rank.rules import Filters, compile_filter
from vitrina.state.catalog_changes import ItemChange, SqliteCatalogChanges

MADE_US = 1_767_603_600_000_000  # 2026-01-05 09:00, when the tiny shop's bundle was made
LATER = MADE_US + 1


def change(item_id: str, number: int = 1, at: int = LATER, **fields: Any) -> ItemChange:
    return ItemChange(item_id, number, at, {name: (value, at) for name, value in fields.items()})


def deletion(item_id: str, number: int = 1, at: int = LATER) -> ItemChange:
    return ItemChange(item_id, number, at, None)


def shown(bundle: Bundle, item_id: str) -> dict[str, Any]:
    item: dict[str, Any] = orjson.loads(bundle.catalog.blob(bundle.row_of_item[item_id]))
    return item


def passing(bundle: Bundle, **filters: Any) -> set[str]:
    mask = compile_filter(Filters(**filters), bundle.catalog)
    assert mask is not None
    return {bundle.item_ids[row] for row in np.flatnonzero(mask)}


def test_changes_are_in_the_item_and_in_the_filters(bundle: Bundle) -> None:
    changed = amend(
        bundle,
        [
            change("item-0003", 1, price=77.5, title="Rye"),
            change("item-0004", 2, brand="Dromedary", category_path=["TOYS", "CAMELS"]),
            change("item-0005", 3, price=None, brand=None, available=False),
        ],
    )
    assert shown(changed, "item-0003") == shown(bundle, "item-0003") | {
        "price": 77.5,
        "title": "Rye",
    }
    assert not {"price", "brand"} & set(shown(changed, "item-0005"))
    assert passing(changed, min_price=60) == {"item-0003"}
    assert passing(changed, brands=["dromedary"]) == {"item-0004"}
    assert passing(changed, categories=["toys"]) == {"item-0004"}
    assert passing(changed, categories=["TOYS > CAMELS"]) == {"item-0004"}
    assert "item-0005" not in passing(changed)
    assert changed.row_of_item["item-0005"] not in changed.popular_rows
    assert "item-0005" in passing(bundle)  # the bundle itself is as it was
    assert changed.catalog.sequence == 3


def test_what_is_back_in_stock_has_its_old_place(bundle: Bundle) -> None:
    gone = "item-0007"  # not available in the tiny shop
    back = amend(bundle, [change(gone, available=True)])
    assert gone in passing(back)
    order = back.popular_rows.tolist()
    assert bundle.row_of_item[gone] in order
    assert order == sorted(order, key=lambda row: -back.popularity[row])


@given(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=30, max_size=30), st.data())
def test_the_popularity_list_is_the_one_of_the_stock(
    bundle: Bundle, popularity: list[float], data: st.DataObject
) -> None:
    """Equally popular items included: where each stands does not depend on who was away."""
    values = np.zeros(len(bundle.item_ids), np.float32)
    values[:30] = popularity
    order = np.argsort(-values, kind="stable")
    available = bundle.catalog.available
    shop = replace(bundle, popularity=values, popular_rows=order[available[order]])
    some = data.draw(st.lists(st.sampled_from(bundle.item_ids[:30]), unique=True))
    stock = [
        change(item_id, number, available=data.draw(st.booleans()))
        for number, item_id in enumerate(some, start=1)
    ]
    now = amend(shop, stock)
    assert now.popular_rows.tolist() == order[now.catalog.available[order]].tolist()


def test_a_deleted_item_is_not_listed_and_a_put_brings_it_back(bundle: Bundle) -> None:
    row = bundle.row_of_item["item-0003"]
    gone = amend(bundle, [deletion("item-0003")])
    assert not gone.catalog.row_listed(row)
    assert "item-0003" not in passing(gone)
    back = amend(gone, [change("item-0003", 2, price=2.0)])
    assert back.catalog.row_listed(row)
    assert shown(back, "item-0003")["title"] == shown(bundle, "item-0003")["title"]


def test_a_bundle_made_of_newer_files_has_the_last_word(bundle: Bundle) -> None:
    before = [change("item-0003", 1, MADE_US - 1, price=1.5), deletion("item-0004", 2, MADE_US - 1)]
    same = amend(bundle, before)
    assert shown(same, "item-0003") == shown(bundle, "item-0003")
    assert same.catalog.row_listed(same.row_of_item["item-0004"])
    assert same.catalog.sequence == 2

    # Of one item, fields set before and after: only the newer ones.
    fields = {"price": (1.5, MADE_US - 1), "title": ("New", LATER)}
    mixed = shown(amend(bundle, [ItemChange("item-0003", 3, LATER, fields)]), "item-0003")
    assert mixed == shown(bundle, "item-0003") | {"title": "New"}

    # What counts is when the catalog was read, not when training on it was over.
    lineage = replace(bundle.manifest.lineage, catalog_read_at="2026-01-05T08:00:00+00:00")
    trained_long = replace(bundle, manifest=replace(bundle.manifest, lineage=lineage))
    assert shown(amend(trained_long, before), "item-0003")["price"] == 1.5


def test_items_the_bundle_lacks_wait(bundle: Bundle) -> None:
    waiting = amend(bundle, [change("new", price=1.0), deletion("never heard of", 2)])
    assert waiting.row_of_item == bundle.row_of_item
    assert waiting.catalog.sequence == 2


actions = st.lists(
    st.tuples(
        st.sampled_from(["item-0003", "item-0004", "item-0007", "new"]),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "price": st.one_of(st.none(), st.sampled_from([0.0, 1.5, 60.0])),
                    "available": st.sampled_from([None, True, False]),
                    "brand": st.sampled_from([None, "Acme", "Dromedary"]),
                    "category_path": st.sampled_from([[], ["TOYS"], ["DAIRY", "DAIRY A"]]),
                    "title": st.sampled_from([None, "Rye"]),
                },
            ),
        ),
    ),
    max_size=12,
)


@given(actions)
def test_changes_one_by_one_and_all_at_once_come_to_the_same(
    bundle: Bundle, actions: list[tuple[str, Mapping[str, Any] | None]]
) -> None:
    store = SqliteCatalogChanges(None)
    stepwise = bundle
    for item_id, fields in actions:
        if fields is None:
            store.delete([item_id])
        else:
            store.put([{"item_id": item_id, **fields}])
        stepwise = amend(stepwise, store.after(stepwise.catalog.sequence))
    at_once = amend(bundle, store.after(0))
    store.close()
    np.testing.assert_array_equal(stepwise.catalog.price, at_once.catalog.price)
    np.testing.assert_array_equal(stepwise.popular_rows, at_once.popular_rows)
    for item_id in ("item-0003", "item-0004", "item-0007"):
        row = bundle.row_of_item[item_id]
        assert stepwise.catalog.blob(row) == at_once.catalog.blob(row)
        assert stepwise.catalog.row_listed(row) == at_once.catalog.row_listed(row)
    for filters in ({}, {"brands": ["Dromedary"]}, {"categories": ["TOYS"]}, {"min_price": 55}):
        assert passing(stepwise, **filters) == passing(at_once, **filters)
