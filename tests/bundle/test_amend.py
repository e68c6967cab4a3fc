"""A bundle amended by its shop: what filters, lists and answers read is as the shop says now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from shop import tiny_bundle
from vitrina.bundle.amend import amend
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.filters import Filters, compile_filter
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


BREAD = ["BAKERY", "BAKERY A", "BAKERY A1"]


def nearest(bundle: Bundle, item_id: str, count: int = 10) -> list[str]:
    """The bundle's own items that are nearest to an item."""
    vector = bundle.vectors_of(np.array([bundle.row_of_item[item_id]]))[0]
    best = np.argsort(-(bundle.vectors.values @ vector))[:count]
    return [bundle.item_ids[row] for row in best]


def test_an_added_item_has_a_row_and_lies_among_its_like(bundle: Bundle) -> None:
    new = change("new", title="Spelt", category_path=BREAD, brand="Midas", price=99.0)
    sold_out = change("another", 2, title="Einkorn", category_path=BREAD, available=False)
    added = amend(bundle, [new, sold_out])
    row = added.row_of_item["new"]
    assert added.item_ids[row] == "new"
    assert sorted(added.row_of_item.values()) == list(range(302))
    assert shown(added, "new") == {
        "item_id": "new",
        "title": "Spelt",
        "category_path": BREAD,
        "price": 99.0,
        "brand": "Midas",
        "available": True,
    }
    like = [shown(bundle, item_id)["category_path"] for item_id in nearest(added, "new")]
    assert like == [BREAD] * 10
    assert passing(added, brands=["midas"]) == passing(added, min_price=60) == {"new"}
    assert {"new"} == passing(added, categories=["BAKERY"]) - passing(bundle, categories=["BAKERY"])
    assert row == added.popular_rows[-1]  # nobody has bought it; the other one is sold out
    assert "new" not in bundle.row_of_item  # the bundle itself is as it was
    rows = np.array([[row, 0], [3, row]])
    assert added.vectors_of(rows).shape == (2, 2, 16)
    np.testing.assert_array_equal(added.vectors_of(rows)[1, 0], bundle.vectors.values[3])
    assert shown(amend(added, [change("item-0003", 3, price=1.5)]), "item-0003")["price"] == 1.5


def test_an_added_item_can_be_changed_and_deleted(bundle: Bundle) -> None:
    added = amend(bundle, [change("new", category_path=BREAD), change("other", title="Other")])
    moved = amend(added, [change("new", 3, category_path=["DAIRY", "DAIRY A", "DAIRY A1"])])
    assert {shown(bundle, near)["category_path"][0] for near in nearest(moved, "new")} == {"DAIRY"}
    gone = amend(moved, [deletion("new", 4)])
    assert "new" not in gone.row_of_item
    assert shown(gone, "other")["title"] == "Other"
    assert gone.item_ids == [*bundle.item_ids, "other"]
    back = amend(gone, [change("new", 5, category_path=BREAD)])
    assert nearest(back, "new") == nearest(added, "new")
    none = amend(gone, [deletion("other", 6)])
    assert none.added is None
    assert none.item_ids == bundle.item_ids
    assert len(none.popularity) == len(none.catalog) == len(bundle.catalog)


def test_an_item_that_nothing_is_said_of_waits(bundle: Bundle) -> None:
    waiting = amend(bundle, [change("new", price=1.0), deletion("never heard of", 2)])
    assert waiting.row_of_item == bundle.row_of_item
    assert waiting.catalog.sequence == 2
    named = amend(waiting, [change("new", 3, price=1.0, title="Spelt")])
    assert "new" in named.row_of_item
    assert "new" not in amend(named, [change("new", 4, price=1.0, title=None)]).row_of_item


def test_an_older_bundle_lets_new_items_wait(tmp_path: Path) -> None:
    older = load_bundle(tiny_bundle(tmp_path, places_items=False))
    waiting = amend(older, [change("new", category_path=BREAD), change("item-0003", 2, price=1.5)])
    assert waiting.row_of_item == older.row_of_item
    assert shown(waiting, "item-0003")["price"] == 1.5


def test_a_bundle_that_holds_an_added_item_has_its_own_row_of_it(tmp_path: Path) -> None:
    new = change("item-0300", at=MADE_US - 1, category_path=BREAD, title="Spelt")
    before, after = (load_bundle(tiny_bundle(tmp_path, items=items)) for items in (300, 301))
    added, held = amend(before, [new]), amend(after, [new])
    assert (len(added.vectors), added.row_of_item["item-0300"]) == (300, 300)
    assert held.added is None
    assert shown(held, "item-0300") == shown(after, "item-0300")  # made of newer files


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
    assert stepwise.item_ids == at_once.item_ids
    assert stepwise.row_of_item == at_once.row_of_item
    everything = np.arange(len(at_once.item_ids))
    np.testing.assert_allclose(stepwise.vectors_of(everything), at_once.vectors_of(everything))
    np.testing.assert_array_equal(stepwise.catalog.price, at_once.catalog.price)
    np.testing.assert_array_equal(stepwise.popular_rows, at_once.popular_rows)
    np.testing.assert_array_equal(stepwise.popularity, at_once.popularity)
    for item_id in {"item-0003", "item-0004", "item-0007", "new"} & at_once.row_of_item.keys():
        row = at_once.row_of_item[item_id]
        assert stepwise.catalog.blob(row) == at_once.catalog.blob(row)
        assert stepwise.catalog.row_listed(row) == at_once.catalog.row_listed(row)
    for filters in ({}, {"brands": ["Dromedary"]}, {"categories": ["TOYS"]}, {"min_price": 55}):
        assert passing(stepwise, **filters) == passing(at_once, **filters)
