"""The shop's changes to its catalog: in the next answer, for good, and on every server."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import served
from served import ids, serving, shop_settings
from shop import tiny_bundle
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app


def recommend(client: httpx.Client, **params: Any) -> dict[str, Any]:
    answer = client.get("/v1/recommendations", params={"k": 100, **params})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


eventually = partial(served.eventually, seconds=15)


def put(client: httpx.Client, *items: dict[str, Any]) -> dict[str, Any]:
    answer = client.put("/v1/items", json=list(items))
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


@pytest.mark.parametrize("shelf", ["for_you", "discover", "buy_again"])
def test_what_is_sold_out_or_deleted_is_gone_from_the_next_answer(
    client: httpx.Client, shelf: str
) -> None:
    bought = [
        {"user_id": "ada", "item_id": f"item-{number:04d}", "event_type": "purchase"}
        for number in (3, 4, 19)
    ]
    client.post("/v1/events", json=bought)
    shopper: dict[str, Any] = {"user_id": "ada", "shelf": shelf}
    sold_out, deleted = ids(recommend(client, **shopper))[:2]
    assert put(client, {"item_id": sold_out, "available": False}) == {"accepted": 1, "waiting": []}
    assert client.delete(f"/v1/items/{deleted}").json() == {"accepted": 1}

    assert not {sold_out, deleted} & set(ids(recommend(client, **shopper)))
    with_sold_out = ids(recommend(client, **shopper, available=False, exclude_seen=False))
    assert sold_out in with_sold_out or shelf == "discover"
    assert deleted not in with_sold_out
    assert deleted not in ids(recommend(client, seed=sold_out, available=False))
    assert client.get(f"/v1/items/{sold_out}").json()["available"] is False
    assert client.get(f"/v1/items/{deleted}").status_code == 404
    assert client.get(f"/v1/items/{deleted}/similar").status_code == 404
    for shown in client.get("/v1/items/item-0003/similar").json().get("items", []):
        assert shown["item_id"] not in (sold_out, deleted)

    put(client, {"item_id": sold_out, "available": True}, {"item_id": deleted})
    back = client.get(f"/v1/items/{deleted}").json()
    assert back["title"].endswith(f"no. {int(deleted[-4:])}")
    assert {sold_out, deleted} <= set(ids(recommend(client, **shopper)))


def test_a_new_price_is_shown_and_filtered_by_at_once(client: httpx.Client) -> None:
    changed = {"brand": "Midas", "location": "Phrygia", "condition": "gilded"}
    put(client, {"item_id": "item-0003", "price": 999.5, "title": "Gilded rye", **changed})
    for filters in ({"min_price": 900}, *({field: name} for field, name in changed.items())):
        (shown,) = recommend(client, **filters)["items"]
        assert (shown["item_id"], shown["price"]) == ("item-0003", 999.5)
        assert shown["title"] == "Gilded rye"
        assert shown["category_path"][0] == "BAKERY"  # left out, so it stays
    assert "item-0003" not in ids(recommend(client, max_price=100))


def test_many_items_are_deleted_in_one_go(client: httpx.Client) -> None:
    gone = [f"item-{number:04d}" for number in range(0, 300, 2)]
    answer = client.post("/v1/items:delete", json={"item_ids": [*gone, "never heard of"]})
    assert answer.json() == {"accepted": len(gone) + 1}
    assert not set(gone) & set(ids(recommend(client, available=False)))


def test_a_new_item_of_which_little_is_said_waits_and_the_answer_says_so(
    client: httpx.Client,
) -> None:
    answer = put(client, {"item_id": "new-1", "price": 1.5}, {"item_id": "item-0003"})
    assert answer == {"accepted": 2, "waiting": ["new-1"]}
    assert client.get("/v1/items/new-1").status_code == 404


def test_changes_outlive_restarts_and_swaps(
    app: FastAPI, registry: Registry, tmp_path: Path
) -> None:
    with serving(app) as client:
        put(client, {"item_id": "item-0003", "price": 999.5})
        client.delete("/v1/items/item-0004")
    with serving(create_app(shop_settings(tmp_path))) as client:

        def still_changed() -> bool:
            return (
                client.get("/v1/items/item-0003").json()["price"] == 999.5
                and client.get("/v1/items/item-0004").status_code == 404
                and "item-0004" not in ids(recommend(client))
            )

        assert still_changed()
        # Made of files read before the changes, whenever it is promoted.
        second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})
        registry.promote(second)
        eventually(lambda: client.get("/readyz").json()["bundle"] == second)
        assert still_changed()
        registry.rollback()
        eventually(lambda: client.get("/readyz").json()["bundle"] != second)
        assert still_changed()


def test_every_server_of_the_shop_sees_a_change(app: FastAPI, tmp_path: Path) -> None:
    with serving(app) as one, serving(create_app(shop_settings(tmp_path))) as other:
        put(one, {"item_id": "item-0003", "available": False})
        eventually(lambda: "item-0003" not in ids(recommend(other)))
        other.delete("/v1/items/item-0004")
        eventually(lambda: one.get("/v1/items/item-0004").status_code == 404)


def test_a_category_may_be_a_list_or_a_text(client: httpx.Client) -> None:
    put(
        client,
        {"item_id": "item-0003", "category_path": "TOYS > CAMELS"},
        {"item_id": "item-0004", "category_path": ["TOYS", "CAMELS"]},
    )
    found = recommend(client, category="toys")["items"]
    assert {item["item_id"] for item in found} == {"item-0003", "item-0004"}
    assert all(item["category_path"] == ["TOYS", "CAMELS"] for item in found)


@pytest.mark.parametrize("path", ["/v1/items/item-0003", "/v1/items/item-0019/similar?k=30"])
def test_what_a_client_has_is_not_sent_again_until_it_changes(
    client: httpx.Client, path: str
) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    put(client, {"item_id": "item-0003", "price": 0.5})
    changed = client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"price": 1}, "item_id"),
        ({"item_id": "item-0003", "price": -1}, "price"),
        ({"item_id": "item-0003", "prize": 1}, "prize"),
        ({"item_id": "item-0003", "available": "perhaps"}, "available"),
        ({"item_id": "item-0003", "attributes": ["soft"]}, "attributes"),
        ("item-0003", "(all)"),
    ],
)
def test_an_unusable_item_is_named_and_nothing_is_changed(
    client: httpx.Client, item: Any, field: str
) -> None:
    before = client.get("/v1/items/item-0005").json()
    answer = client.put("/v1/items", json=[{"item_id": "item-0005", "price": 1e6}, item])
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["index"], error["field"]) == (1, field)
    assert client.get("/v1/items/item-0005").json() == before


def test_a_disk_that_takes_nothing_is_a_503_and_recommendations_go_on(
    client: httpx.Client, tmp_path: Path
) -> None:
    put(client, {"item_id": "item-0003", "price": 1.0})
    with sqlite3.connect(tmp_path / "catalog.sqlite") as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON catalog_changes "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    answer = client.put("/v1/items", json={"item_id": "item-0004", "price": 1.0})
    assert answer.status_code == 503
    assert "Nothing was changed" in answer.json()["detail"]
    assert recommend(client)["items"]
