"""The Python client before a real server, and before one that is busy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.client import (
    AsyncClient,
    Client,
    Event,
    HistoryEvent,
    ItemChange,
    Recommendations,
    Retries,
    ServiceError,
    Wanted,
)
from vitrina.online.app import create_app
from vitrina.online.item_requests import ItemIn
from vitrina.online.keys import KeyFile
from vitrina.online.requests import EventIn, HistoryEventIn, RecommendationIn

PATIENT = 30.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Iterator[dict[str, str]]:
    """Arguments of a client: url and key."""
    home = tmp_path_factory.mktemp("client")
    settings = shop_settings(home)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    key = KeyFile(settings.paths.keys).make("client", ["admin"])[1]
    with serving(create_app(settings)) as client:
        yield {"url": str(client.base_url), "key": key}


def test_every_field_that_the_service_takes_can_be_sent() -> None:
    assert {field.name for field in fields(Event)} == set(EventIn.model_fields)
    for wanted, taken in (
        (Wanted, RecommendationIn),
        (HistoryEvent, HistoryEventIn),
        (ItemChange, ItemIn),
    ):
        assert set(wanted.__annotations__) == set(taken.model_fields)  # type: ignore[attr-defined]


def test_what_is_recorded_is_in_the_next_answer(served: dict[str, str]) -> None:
    with Client(**served, timeout=PATIENT) as client:
        before = client.recommend(user_id="ann", shelf="discover", k=5)
        event = Event("item-0003", "view", user_id="ann", request_id=before.request_id, position=1)
        assert client.record(event, event).duplicates == 1
        after = client.recommend(user_id="ann", shelf="discover", k=5)
        assert (before.served_by, after.served_by) == ("centroid", "learned")
        first = after.items[0]
        assert (first.position, len(after.items)) == (1, 5)
        assert first.item.title == client.item(first.item.item_id).title
        assert first.item.raw["item_id"] == first.item.item_id
        assert after.cursor is not None
        following = client.recommend(user_id="ann", shelf="discover", k=5, cursor=after.cursor)
        assert following.items[0].position == 6
        assert len(client.similar("item-0003", k=4)) == 4


def test_an_event_says_which_answer_it_answers(served: dict[str, str]) -> None:
    with Client(**served, timeout=PATIENT) as client:
        answer = client.recommend(user_id="ivy", device_type="mobile", k=2)
        assert (
            client.record(
                *(Event.answering(answer, shown, "impression") for shown in answer.items),
                Event.answering(answer, answer.items[1], "click"),
            ).accepted
            == 3
        )
        kept = client.export("ivy")["events"]
        assert [event["event_type"] for event in kept] == ["impression", "impression", "click"]
        assert [event["position"] for event in kept] == [1, 2, 2]
        assert {(event["request_id"], event["device_type"]) for event in kept} == {
            (answer.request_id, "mobile")
        }


def test_a_batch_answers_each_or_says_why_not(served: dict[str, str]) -> None:
    with Client(**served, timeout=PATIENT) as client:
        good, bad = client.recommend_batch([{"user_id": "bob", "k": 3}, {"k": 0}])
        assert isinstance(good, Recommendations)
        assert len(good.items) == 3
        assert isinstance(bad, ServiceError)
        assert bad.status == 422


def test_the_catalog_is_changed(served: dict[str, str]) -> None:
    with Client(**served, timeout=PATIENT) as client:
        waiting = client.put_items({"item_id": "item-0009", "price": 7.5}, {"item_id": "new"})
        assert waiting == ["new"]
        assert client.item("item-0009").price == 7.5
        client.delete_items("item-0009")
        with pytest.raises(ServiceError, match="no item 'item-0009'") as refusal:
            client.item("item-0009")
        assert refusal.value.status == 404
        assert refusal.value.request_id


def test_a_person_is_recognised_shown_and_forgotten(served: dict[str, str]) -> None:
    with Client(**served, timeout=PATIENT) as client:
        client.record(Event("item-0003", "view", session_id="before-sign-in"))
        client.identify("before-sign-in", "eve")
        held = client.export("eve")
        assert held["sessions"] == ["before-sign-in"]
        receipt = client.erase("eve")
        assert receipt.deleted["events"] == 1
        assert receipt.receipt_id
        assert client.export("eve")["events"] == []


def test_the_async_client_makes_the_same_calls(served: dict[str, str]) -> None:
    async def ask() -> list[Recommendations]:
        async with AsyncClient(**served, timeout=PATIENT) as client:
            await client.record(Event("item-0003", "view", session_id="visit"))
            shoppers = ("visit", "visit", "other")
            return await asyncio.gather(
                *(client.recommend(session_id=shopper, k=4) for shopper in shoppers)
            )

    first, second, other = asyncio.run(ask())
    assert first.items == second.items
    assert first.items != other.items
    sync_only = {name for name in vars(Client) if not name.startswith("_")} ^ {
        name for name in vars(AsyncClient) if not name.startswith("_")
    }
    assert not sync_only


def test_a_wrong_key_and_a_wrong_request_are_not_asked_again(served: dict[str, str]) -> None:
    with Client(served["url"], "nonsense", PATIENT, Retries(first_seconds=60)) as client:
        with pytest.raises(ServiceError, match="key is not known") as refusal:
            client.recommend()
        assert refusal.value.status == 401
    with Client(**served, timeout=PATIENT) as client:
        with pytest.raises(ServiceError) as refusal:
            client.recommend(k=1000)
        assert refusal.value.errors[0]["field"] == "k"


class Busy(BaseHTTPRequestHandler):
    """Refuses as often as `refusals` says, in that way, then answers."""

    refusals: list[dict[str, Any]]
    asked_at: list[float]
    bodies: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked_at.append(time.monotonic())
        self.bodies.append(body)
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal == {}:
            self.close_connection = True  # without an answer
            return
        self.send_response(200 if refusal is None else refusal["status"])
        if refusal and "wait" in refusal:
            self.send_header("Retry-After", refusal["wait"])
        answer = b'{"accepted": 1, "duplicates": 0, "unknown_items": 0}' if refusal is None else b""
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[tuple[str, type[Busy]]]:
    """A server that refuses, and its handler."""
    handler = type("_Busy", (Busy,), {"refusals": [], "asked_at": [], "bodies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


QUICK = Retries(count=3, first_seconds=0.01)


def test_a_busy_server_is_asked_again_as_late_as_it_wants(
    busy: tuple[str, type[Busy]],
) -> None:
    url, handler = busy
    handler.refusals[:] = [{"status": 429, "wait": "1"}, {"status": 503}, {}]
    with Client(url, timeout=PATIENT, retries=QUICK) as client:
        assert client.record(Event("a", "view", user_id="u")).accepted == 1
    assert len(handler.asked_at) == 4
    assert handler.asked_at[1] - handler.asked_at[0] >= 1
    assert len(set(handler.bodies)) == 1, "the same event_id and time, so that it counts once"


def test_the_client_gives_up_in_the_end(busy: tuple[str, type[Busy]]) -> None:
    url, handler = busy
    handler.refusals[:] = [{"status": 503}] * 9
    event = Event("a", "view", user_id="u")
    with Client(url, timeout=PATIENT, retries=QUICK) as client:
        with pytest.raises(ServiceError, match="503"):
            client.record(event)
        assert len(handler.asked_at) == 4
        handler.refusals[:] = [{"status": 429, "wait": "3600"}] * 9
        with pytest.raises(ServiceError) as refusal:
            client.record(event)
        assert refusal.value.retry_after == 3600
        assert len(handler.asked_at) == 5, "nobody waits for an hour"


def test_a_service_that_is_not_there_is_a_sentence() -> None:
    with (
        Client("http://127.0.0.1:9", timeout=PATIENT, retries=Retries(0)) as client,
        pytest.raises(ServiceError, match="did not answer") as refusal,
    ):
        client.recommend()
    assert refusal.value.status is None


@given(st.integers(0, 20), st.sampled_from([429, 503, None]), st.floats(0, 20))
def test_waits_are_bounded_and_never_shorter_than_asked(
    asked: int, status: int | None, wanted: float
) -> None:
    retries = Retries(count=10)
    pause = retries.pause(asked, ServiceError("busy", status, retry_after=wanted))
    assert (pause is None) == (asked >= 10 or wanted > retries.max_seconds)
    if pause is not None:
        assert wanted <= pause <= wanted + retries.max_seconds
