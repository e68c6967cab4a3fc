"""`vitrina doctor --server`: a server that is well, one that wants a key, one that is ill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from cli.cli_shop import run
from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app
from vitrina.online.keys import KeyFile


@pytest.fixture
def app(tmp_path: Path, bundle_path: Path) -> FastAPI:
    settings = shop_settings(tmp_path)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serving(app) as client:
        yield client


def looked_at(client: httpx.Client, *more: str) -> tuple[int, dict[str, Any]]:
    result = run("doctor", "--server", str(client.base_url), "--json", *more)
    return result.code, {finding["subject"]: finding for finding in result.json}


def test_a_server_that_is_well(client: httpx.Client) -> None:
    code, found = looked_at(client)
    assert code == 0
    assert list(found) == [*("server", "clock", "bundle", "recommendations", "version", "counters")]
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert "ready" in found["bundle"]["found"]
    assert "10 items" in found["recommendations"]["found"]
    assert "5 recommendations" in found["counters"]["found"]


def test_a_server_with_a_fault(app: FastAPI, client: httpx.Client) -> None:
    app.state.service.state.close()
    for _ in range(6):
        client.get("/v1/recommendations?user_id=ada")
    code, found = looked_at(client)
    assert code == 1
    assert found["parts"]["state"] == "broken"
    assert "history store" in found["parts"]["found"]
    assert "history " in found["degraded"]["found"]


def test_a_server_without_a_bundle(tmp_path: Path) -> None:
    with serving(create_app(shop_settings(tmp_path))) as client:
        code, found = looked_at(client)
    assert code == 1
    assert found["bundle"]["state"] == found["recommendations"]["state"] == "broken"
    assert "vitrina promote" in found["bundle"]["advice"]


def test_a_server_with_keys_wants_one(tmp_path: Path) -> None:
    settings = shop_settings(tmp_path)
    key = KeyFile(settings.paths.keys).make("me", ["admin"])[1]
    with serving(create_app(settings)) as client:
        _, without = looked_at(client)
        _, found = looked_at(client, "--key", key)
    assert "--key" in without["recommendations"]["advice"]
    assert without["counters"]["state"] == "open"
    assert found["counters"]["state"] == "ok"


def test_what_is_no_server_is_a_sentence() -> None:
    result = run("doctor", "--server", "http://127.0.0.1:9", "--json")
    assert result.code == 1
    assert "does not answer" in result.json[0]["found"]
