"""Items that a bundle lacks: in the next answers of whom they suit, until a bundle holds them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

import served
from served import ids, serving, shop_settings
from shop import tiny_bundle
from vitrina.bundle.registry import Registry
from vitrina.filters import Filters, Selection
from vitrina.index.faiss import FaissIndex
from vitrina.online.added import WithAdded
from vitrina.online.app import create_app
from vitrina.space import EmbeddingSpace, Vectors, normalise

BREAD, CHEESE = ["BAKERY", "BAKERY A", "BAKERY A1"], ["DAIRY", "DAIRY A", "DAIRY A1"]
A_LOAF, A_CHEESE = "item-0000", "item-0004"
LOAVES = {f"item-{number:04d}" for number in range(0, 300, 16)}
"""Items of these categories (`shop.shop_items`)."""

eventually = partial(served.eventually, seconds=15)


def put(client: httpx.Client, *items: dict[str, Any]) -> list[str]:
    """Put items that suit the API; which of them wait."""
    answer = client.put("/v1/items", json=list(items))
    assert answer.status_code == 200, answer.text
    waiting: list[str] = answer.json()["waiting"]
    return waiting


def new(item_id: str = "new", path: list[str] = BREAD, **fields: Any) -> dict[str, Any]:
    return {"item_id": item_id, "title": "Spelt", "category_path": path} | fields


def shown(client: httpx.Client, **request: Any) -> list[str]:
    answer = client.post("/v1/recommendations", json={"k": 60, **request})
    assert answer.status_code == 200, answer.text
    assert not answer.json()["degraded"]
    return ids(answer.json())


def similar(client: httpx.Client, item_id: str, k: int = 30) -> list[str]:
    answer = client.get(f"/v1/items/{item_id}/similar", params={"k": k})
    assert answer.status_code == 200, answer.text
    return ids(answer.json())


def view(client: httpx.Client, user: str, item_id: str) -> dict[str, int]:
    event = {"user_id": user, "item_id": item_id, "event_type": "view"}
    counted: dict[str, int] = client.post("/v1/events", json=event).json()
    return counted


def test_a_new_item_is_shown_to_whom_it_suits_and_to_nobody_else(client: httpx.Client) -> None:
    view(client, "baker", A_LOAF)
    view(client, "farmer", A_CHEESE)
    assert put(client, new()) == []
    assert client.get("/v1/items/new").json()["title"] == "Spelt"
    assert "new" in similar(client, A_LOAF)
    assert "new" not in similar(client, A_CHEESE)
    for shelf in ("for_you", "discover"):
        assert "new" in shown(client, user_id="baker", shelf=shelf, k=20)
        assert "new" not in shown(client, user_id="farmer", shelf=shelf, k=20)
    beside = {"surface": "product_page", "seed": A_LOAF}
    assert "new" in shown(client, user_id="farmer", k=20, **beside)
    batch = {"requests": [{"user_id": "baker", "k": 20}, {"user_id": "farmer", "k": 20}]}
    answers = client.post("/v1/recommendations:batch", json=batch).json()["answers"]
    assert ["new" in ids(answer) for answer in answers] == [True, False]


def test_what_is_near_a_new_item_is_found_from_it(client: httpx.Client) -> None:
    put(client, new(), new("another"))
    near = similar(client, "new", k=10)
    assert near[0] == "another"
    assert "new" not in near
    assert set(near[1:]) <= LOAVES
    seeded = shown(client, surface="product_page", seed="new", k=10)
    assert "new" not in seeded
    assert seeded[0] in LOAVES | {"another"}


def test_new_items_are_filtered_by_as_others_are(client: httpx.Client) -> None:
    there = {"brand": "Midas", "location": "Phrygia"}
    put(client, new(price=900.0, **there), new("other", CHEESE, price=950.0, **there))
    for filters, found in (
        ({"brand": "midas"}, {"new", "other"}),
        ({"location": "phrygia"}, {"new", "other"}),
        ({"min_price": 920}, {"other"}),
        ({"brand": "MIDAS", "category": "Bakery"}, {"new"}),
    ):
        assert set(shown(client, **filters)) == found
    assert "new" not in shown(client, exclude="new", category="BAKERY")


def test_a_new_item_that_is_sold_out_or_deleted_is_gone(client: httpx.Client) -> None:
    put(client, new(), new("other"))
    put(client, {"item_id": "new", "available": False})
    assert "new" not in similar(client, A_LOAF)
    assert client.get("/v1/items/new").json()["available"] is False
    assert client.delete("/v1/items/other").json() == {"accepted": 1}
    assert client.get("/v1/items/other").status_code == 404
    assert client.get("/v1/items/other/similar").status_code == 404
    assert not {"new", "other"} & set(similar(client, A_LOAF))
    put(client, {"item_id": "new", "available": None}, new("other"))
    assert {"new", "other"} <= set(similar(client, A_LOAF))


def test_an_event_on_a_new_item_counts(client: httpx.Client) -> None:
    """Also one that came before the item, of whom there was a vector without it."""

    def first(user: str) -> str:
        return shown(client, user_id=user, shelf="discover")[0]

    assert view(client, "early", "new")["unknown_items"] == 1
    assert first("early") not in LOAVES
    put(client, new())
    assert first("early") in LOAVES
    assert view(client, "late", "new")["unknown_items"] == 0
    assert first("late") in LOAVES
    assert "new" not in shown(client, user_id="late", shelf="discover")  # seen before
    client.delete("/v1/items/new")
    assert first("late") not in LOAVES


def test_pages_of_a_list_with_new_items_repeat_nothing(client: httpx.Client) -> None:
    put(client, *(new(f"new-{number}") for number in range(30)))
    view(client, "baker", A_LOAF)
    pages: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        answer = client.post("/v1/recommendations", json={"user_id": "baker", **cursor}).json()
        pages += ids(answer)
        cursor = {"cursor": answer["cursor"]}
    assert len(set(pages)) == len(pages) == 80
    assert sum(item_id.startswith("new-") for item_id in pages) >= 20


def test_thousands_of_new_items_are_taken_at_once(client: httpx.Client) -> None:
    many = [new(f"new-{number}", BREAD if number % 2 else CHEESE) for number in range(3000)]
    assert put(client, *many) == []
    found = shown(client, history=[{"item_id": A_LOAF, "event_type": "view"}], shelf="discover")
    assert sum(item_id.startswith("new-") for item_id in found) > 10
    client.post("/v1/items:delete", json={"item_ids": [item["item_id"] for item in many[:-1]]})
    assert [item for item in similar(client, A_LOAF, 100) if item.startswith("new-")] == [
        "new-2999"
    ]


def test_new_items_outlive_a_restart_and_wait_for_no_one_twice(
    app: FastAPI, registry: Registry, tmp_path: Path
) -> None:
    with serving(app) as client:
        put(client, new("item-0300"), new("other"))
    with serving(create_app(shop_settings(tmp_path))) as client:
        assert {"item-0300", "other"} <= set(similar(client, A_LOAF))
        # The next bundle holds one of them; what its vector and fields are, it says itself.
        second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1, items=301), metrics={})
        registry.promote(second)
        eventually(lambda: client.get("/readyz").json()["bundle"] == second)
        assert client.get("/v1/items/item-0300").json()["price"] > 0
        assert "other" in similar(client, A_LOAF)
        listed = shown(client, category=BREAD[0], k=100)
        assert len(listed) == len(set(listed))
        registry.rollback()
        eventually(lambda: client.get("/readyz").json()["bundle"] != second)
        assert {"item-0300", "other"} <= set(similar(client, A_LOAF))


def test_every_server_of_the_shop_shows_a_new_item(app: FastAPI, tmp_path: Path) -> None:
    with serving(app) as one, serving(create_app(shop_settings(tmp_path))) as other:
        view(one, "baker", A_LOAF)
        put(one, new())
        eventually(lambda: "new" in shown(other, user_id="baker", k=20))
        assert similar(other, "new") == similar(one, "new")
        other.delete("/v1/items/new")
        eventually(lambda: "new" not in similar(one, A_LOAF))


def test_an_older_bundle_lets_new_items_wait_and_the_answer_says_so(tmp_path: Path) -> None:
    registry = Registry(shop_settings(tmp_path).paths.bundles)
    older = tiny_bundle(tmp_path / "drafts", places_items=False)
    registry.promote(registry.publish(older, metrics={}))
    with serving(create_app(shop_settings(tmp_path))) as client:
        assert put(client, new(), {"item_id": A_LOAF}) == ["new"]
        assert client.get("/v1/items/new").status_code == 404
        assert view(client, "baker", A_LOAF)["unknown_items"] == 0
        assert "new" not in shown(client, user_id="baker")
        # The next one can do it, and nobody has to send anything again.
        second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})
        registry.promote(second)
        eventually(lambda: client.get("/v1/items/new").status_code == 200)


@settings(max_examples=30)
@given(st.data())
def test_index_and_added_items_are_searched_as_one(data: st.DataObject) -> None:
    own, more = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    space = EmbeddingSpace("items_v1", 4, "f")
    values = normalise(rng.standard_normal((own + more, 4)))
    queries = Vectors(space, normalise(rng.standard_normal((data.draw(st.integers(1, 3)), 4))))
    mask = data.draw(st.one_of(st.none(), st.just(rng.random(own + more) < 0.5)))
    allowed = Selection(Filters(), mask)
    k = data.draw(st.integers(1, 100))
    index = WithAdded(FaissIndex.build(Vectors(space, values[:own])), own, values[own:])
    scores, rows = index.search(queries, k, allowed)
    expected, expected_rows = FaissIndex.build(Vectors(space, values)).search(queries, k, allowed)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    np.testing.assert_array_equal(rows, expected_rows)
