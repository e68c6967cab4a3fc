"""The beacon in a browser, in a page of another origin: batched, sent on leaving, counted once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from served import serving, shop_settings
from vitrina.online.app import create_app
from vitrina.online.keys import KeyFile

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser


@pytest.fixture
def page_of_the_shop(tmp_path: Path) -> Iterator[str]:
    """Address of a folder, `pages`, that another server serves."""
    (tmp_path / "pages").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "pages"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_events_of_a_page_arrive_together_when_it_is_left(
    tmp_path: Path, page_of_the_shop: str, open_browser: Callable[..., Chrome]
) -> None:
    settings = shop_settings(tmp_path)
    serve = settings.serve.model_copy(update={"cors_origins": [page_of_the_shop]})
    keys = KeyFile(settings.paths.keys)
    key = keys.make("pages", ["events:write"])[1]
    admin = {"Authorization": f"Bearer {keys.make('me', ['admin'])[1]}"}
    with serving(create_app(settings.model_copy(update={"serve": serve}))) as client:
        script = f'<script src="{client.base_url}/beacon.js" data-key="{key}"></script>'
        (tmp_path / "pages/index.html").write_text(f"<!doctype html><title>shop</title>{script}")
        page = open_browser()
        page.get(f"{page_of_the_shop}/")
        session: str = page.execute_script("return vitrina.session")  # type: ignore[no-untyped-call]
        page.execute_script(  # type: ignore[no-untyped-call]
            "vitrina('view', 'item-0003'); vitrina('click', 'item-0004', {position: 2});"
            "vitrina.user('ada'); vitrina('add_to_cart', 'item-0005')"
        )
        assert history(client, admin, "ada") == [], "it waits for more"
        page.get("about:blank")
        deadline = time.monotonic() + 60
        while not history(client, admin, "ada"):
            assert time.monotonic() < deadline, "the events never came"
            time.sleep(0.05)
        assert history(client, admin, f"session:{session}") == ["item-0003", "item-0004"]
        assert history(client, admin, "ada") == ["item-0005"]
        metrics = client.get("/metrics", headers=admin).text
        assert 'vitrina_requests_total{route="/v1/events",status="200"} 1.0' in metrics
        assert 'vitrina_events_total{outcome="accepted"} 3.0' in metrics


def history(client: httpx.Client, headers: dict[str, str], key: str) -> list[Any]:
    events = client.get(f"/v1/users/{key}/history", headers=headers).json()["events"]
    return [event["item_id"] for event in events]


def test_the_script_weighs_no_more_than_a_kilobyte() -> None:
    assert len((resources.files("vitrina.online") / "beacon.js").read_bytes()) <= 1024
