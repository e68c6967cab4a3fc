"""Hot swap: new bundles take over without a dropped request, bad ones are refused and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
from fastapi import FastAPI

from served import eventually, serving, shop_settings
from shop import tiny_bundle
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app
from vitrina.online.recommender import Request


def ready(client: httpx.Client) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/readyz").json()
    return content


def point_to(registry: Registry, version: str) -> None:
    """Make a version the current one without the registry's checks, in one move as it does."""
    pointer, aside = registry.root / "current.json", registry.root / "aside.json"
    aside.write_bytes(orjson.dumps(orjson.loads(pointer.read_bytes()) | {"version": version}))
    aside.replace(pointer)


def test_a_promoted_bundle_takes_over_and_a_rollback_takes_back(
    client: httpx.Client, registry: Registry, tmp_path: Path
) -> None:
    first = registry.current()
    second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})
    event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}
    client.post("/v1/events", json=[event, event | {"item_id": "item-0004"}])
    before = client.get("/v1/recommendations?user_id=ada").json()

    registry.promote(second)
    eventually(lambda: ready(client)["bundle"] == second)
    answer = client.get("/v1/recommendations?user_id=ada").json()
    assert answer["bundle"] == second
    assert answer["user_embedding_version"] == f"user_v{second}"
    assert answer["served_by"] == "learned"  # the cached vector of the old space is not used
    assert answer["degraded"] == []

    registry.rollback()
    eventually(lambda: ready(client)["bundle"] == first)
    back = client.get("/v1/recommendations?user_id=ada").json()
    assert [item["item_id"] for item in back["items"]] == [
        item["item_id"] for item in before["items"]
    ]


def test_shoppers_who_are_about_find_their_vectors_made(
    app: FastAPI, client: httpx.Client, registry: Registry, tmp_path: Path
) -> None:
    second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})
    event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}
    client.post("/v1/events", json=event)
    client.get("/v1/recommendations?user_id=ada")
    registry.promote(second)
    eventually(lambda: ready(client)["bundle"] == second)
    answer = app.state.service.recommend(Request(key="ada"))
    assert (answer.served_by, answer.cached) == ("learned", True)


def test_a_bad_bundle_is_refused_and_the_old_one_serves_on(
    client: httpx.Client, registry: Registry, tmp_path: Path
) -> None:
    first = registry.current()
    second = registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})
    registry.promote(second)
    eventually(lambda: ready(client)["bundle"] == second)
    registry.rollback()
    eventually(lambda: ready(client)["bundle"] == first)

    # The registry refuses to promote a damaged bundle; disks are less careful.
    vectors = registry.path(second) / "items.safetensors"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    point_to(registry, second)

    eventually(lambda: ready(client)["problem"] is not None)
    status = client.get("/readyz")
    assert status.status_code == 200
    assert status.json()["bundle"] == first
    assert f"Bundle {second} was refused" in status.json()["problem"]
    assert "items.safetensors" in status.json()["problem"]
    assert f"Serving {first} on" in status.json()["problem"]
    assert client.get("/v1/recommendations").json()["bundle"] == first

    point_to(registry, first)
    eventually(lambda: ready(client)["problem"] is None)


def test_a_server_that_starts_before_its_first_bundle_notices_it(
    tmp_path: Path, bundle_path: Path
) -> None:
    settings = shop_settings(tmp_path)
    with serving(create_app(settings)) as client:
        assert client.get("/readyz").status_code == 503
        registry = Registry(settings.paths.bundles)
        registry.promote(registry.publish(bundle_path, metrics={}))
        eventually(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/v1/recommendations").json()["items"]


def test_a_server_that_starts_with_a_bad_bundle_serves_the_one_before(
    registry: Registry, tmp_path: Path
) -> None:
    first = registry.current()
    bad = [
        registry.publish(tiny_bundle(tmp_path / "drafts", seed=seed), metrics={}) for seed in (1, 2)
    ]
    for version in bad:
        registry.promote(version)
    for version in bad:
        index = registry.path(version) / "index.faiss"
        index.write_bytes(index.read_bytes()[:1000])
    with serving(create_app(shop_settings(tmp_path))) as client:
        assert client.get("/v1/recommendations").json()["bundle"] == first
        assert f"Bundle {bad[1]} was refused" in ready(client)["problem"]
        assert f"Serving {first} on" in ready(client)["problem"]


def test_an_unreadable_registry_changes_nothing(client: httpx.Client, registry: Registry) -> None:
    first = registry.current()
    (registry.root / "current.json").write_bytes(b"{")
    eventually(lambda: ready(client)["problem"] is not None)
    assert "registry cannot be read" in ready(client)["problem"]
    assert client.get("/v1/recommendations").json()["bundle"] == first
