"""The page without a browser: headers, what is escaped, what is refused, when clicks happen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from served import serving, shop_settings
from shop import tiny_contents
from vitrina.bundle.registry import Registry
from vitrina.bundle.writer import write_bundle
from vitrina.online.app import create_app
from vitrina.studio.app import mount_studio
from vitrina.studio.tiles import tile

NASTY = "<img src=x onerror=alert(1)> & \"quotes\" 'n' {{ 7*7 }}"


@pytest.fixture
def studio(tmp_path: Path) -> FastAPI:
    """The studio of a shop whose first item has a hostile id, title, brand and category."""
    contents, towers = tiny_contents()
    with towers:
        items = list(contents.items)
        hostile = {"title": NASTY, "brand": NASTY, "category_path": NASTY}
        items[0] = {**items[0], **hostile}
        version = contents.vectors.space.version.removeprefix("items_v")
        draft = write_bundle(tmp_path / "drafts" / version, replace(contents, items=items))
    settings = shop_settings(tmp_path)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(draft, metrics={}))
    app = create_app(settings)
    mount_studio(app)
    return app


@pytest.fixture
def client(studio: FastAPI) -> Iterator[httpx.Client]:
    with serving(studio) as client:
        yield client


def test_the_page_allows_no_script_and_no_other_host(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    for outside in ("http://", "https://", "<script", " style=", " onclick"):
        assert outside not in page.text
    assert "httponly" in page.headers["set-cookie"].lower()
    for file in ("studio.css", "icon.svg"):
        assert client.get(f"/studio/{file}").status_code == 200
    assert client.get("/studio/../app.py").status_code == 404


def test_whatever_a_catalog_says_is_text(client: httpx.Client) -> None:
    clicked = client.post("/click", data={"item_id": "item-0000", "shopper": NASTY})
    assert clicked.status_code == 303
    page = client.get(clicked.headers["location"])
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.text
    assert "<img src=x" not in page.text
    assert "{{ 7*7 }}" in page.text


def test_a_click_from_another_site_is_refused(client: httpx.Client) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    form = {"item_id": "item-0003", "shopper": "ada"}
    assert client.post("/click", data=form, headers=headers).status_code == 403
    assert client.get("/v1/users/ada/history").json()["events"] == []


def test_a_click_on_nothing_is_refused(client: httpx.Client) -> None:
    for form in ({}, {"item_id": "gone"}, {"item_id": ""}):
        assert client.post("/click", data=form).status_code == 422


def test_nobody_reads_another_visitors_session(client: httpx.Client) -> None:
    client.post(
        "/v1/events", json={"session_id": "s", "item_id": "item-0003", "event_type": "view"}
    )
    assert "Anonymous visitor" in client.get("/?shopper=session:s").text
    assert "Bakery b2 no. 3" not in client.get("/?shopper=session:s").text


def test_a_click_answers_the_recommendation_it_was_made_on(
    studio: FastAPI, client: httpx.Client
) -> None:
    form = {"item_id": "item-0003", "shopper": "ada", "request_id": "r1", "position": "4"}
    client.post("/click", data=form)
    logged = studio.state.service.state.read(0, 10).columns
    answered = [logged[name] for name in ("event_type", "request_id", "position")]
    assert answered == [("view",), ("r1",), (4,)]


def test_a_shop_of_the_past_goes_on_in_its_own_time(studio: FastAPI, client: httpx.Client) -> None:
    for item in ("item-0003", "item-0004"):
        client.post("/click", data={"item_id": item, "shopper": "ada"})
    bundle = studio.state.service.recommender.bundle
    ended = datetime.fromisoformat(bundle.manifest.lineage.data_until)
    moments = [
        datetime.fromisoformat(event["timestamp"])
        for event in client.get("/v1/users/ada/history").json()["events"]
    ]
    assert [(moment - ended).total_seconds() for moment in moments] == [60, 120]
    assert datetime.now(UTC) > moments[-1]


def test_before_the_first_bundle_the_page_says_what_to_do(tmp_path: Path) -> None:
    app = create_app(shop_settings(tmp_path))
    mount_studio(app)
    with serving(app) as client:
        page = client.get("/")
    assert page.status_code == 503
    assert "vitrina promote" in page.text


def test_a_tile_is_the_items_own() -> None:
    bread = tile("1", ["GROCERY", "BAKED BREAD/BUNS/ROLLS"], "Rolls")
    assert bread == tile("1", ["GROCERY", "BAKED BREAD/BUNS/ROLLS"], "Rolls")
    assert bread.sign
    assert bread.palette == tile("2", ["GROCERY", "BAKED BREAD/BUNS/ROLLS"], "").palette
    odd = tile("\ud800", [], "")
    assert odd.sign == ""
    assert odd.initials
    assert tile("3", ["Qwerty"], "Blue zebra").initials == "BZ"
