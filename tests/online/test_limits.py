"""What is put off: too often, too much at once, too slow; and how clients are told."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app
from vitrina.online.keys import KeyFile
from vitrina.online.limits import TokenBuckets
from vitrina.online.load import Load
from vitrina.settings import Settings

EVENT = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}


def limited(home: Path, **serve: Any) -> Settings:
    settings = shop_settings(home)
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=serve)})


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 100),
    pauses=st.lists(st.floats(0, 10), max_size=60),
)
def test_no_client_gets_more_than_its_rate_and_burst(
    rate: float, burst: float, pauses: list[float]
) -> None:
    now = 0.0
    buckets = TokenBuckets(rate, burst, clock=lambda: now)
    taken = 0
    for pause in pauses:
        now += pause
        wait = buckets.take("ada")
        taken += wait == 0
        assert taken <= burst + rate * now + 1e-6
        if wait:
            now += wait + 1e-6
            assert buckets.take("ada") == 0, "whoever waits as told is let in"
            taken += 1


def test_clients_do_not_share_and_old_ones_are_forgotten() -> None:
    buckets = TokenBuckets(1.0, 2.0, clients=3, clock=lambda: 0.0)
    assert [buckets.take("ada") for _ in range(3)] == [0, 0, 1]
    assert buckets.take("bob") == 0
    for n in range(10):
        buckets.take(n)
    assert len(buckets) == 3


def test_a_key_used_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    settings = limited(tmp_path, key_requests_per_second=0.4, browser_requests_per_second=0.2)
    keys = KeyFile(settings.paths.keys)
    server_side = {"Authorization": f"Bearer {keys.make('shop', ['admin'])[1]}"}
    beacon = keys.make("beacon", ["events:write"])[1]
    with serving(create_app(settings)) as client:

        def history() -> httpx.Response:
            return client.get("/v1/users/ada/history", headers=server_side)

        def post(address: str) -> httpx.Response:
            return client.post(
                "/v1/events",
                params={"key": beacon},
                json=EVENT,
                headers={"X-Forwarded-For": address},
            )

        assert [history().status_code for _ in range(3)] == [200, 200, 429]
        refused = history()
        assert refused.json()["title"] == "Too Many Requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert [post("203.0.113.7").status_code for _ in range(2)] == [200, 429]
        assert post("203.0.113.8").status_code == 200, "each browser has a limit of its own"
        headers = {"Authorization": f"Bearer {keys.make('prometheus', ['admin'])[1]}"}
        deadline = time.monotonic() + 30
        while (metrics := client.get("/metrics", headers=headers)).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 'vitrina_put_off_total{reason="rate"} 3.0' in metrics.text


@pytest.fixture
def busy(tmp_path: Path, registry: Registry) -> FastAPI:
    return create_app(limited(tmp_path, max_in_flight=4))


def test_under_load_events_are_put_off_before_answers(busy: FastAPI) -> None:
    load: Load = busy.state.service.load
    with serving(busy) as client:

        def statuses() -> list[int]:
            refused = client.post("/v1/events", json=EVENT)
            if refused.status_code == 429:
                assert refused.headers["retry-after"] == "1"
            answers = client.get("/v1/recommendations"), client.post("/v1/recommendations", json={})
            return [refused.status_code, *(answer.status_code for answer in answers)]

        load.in_flight = 1
        assert statuses() == [200, 200, 200]
        assert not load.overloaded
        load.in_flight = 2
        assert load.overloaded
        assert statuses() == [429, 200, 200]
        answer = client.get("/v1/recommendations?user_id=ada").json()
        assert answer["degraded"] == ["rank: the server is overloaded"]
        assert len(answer["items"]) == 20
        load.in_flight = 4
        assert statuses() == [429, 429, 429]
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        load.in_flight = 0
        assert statuses() == [200, 200, 200]
        assert load.in_flight == 0


def raw(client: httpx.Client) -> socket.socket:
    assert client.base_url.port is not None
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def test_a_body_that_is_still_being_sent_takes_no_place(busy: FastAPI) -> None:
    load: Load = busy.state.service.load
    with serving(busy) as client:
        slow = [raw(client) for _ in range(20)]
        for connection in slow:
            connection.sendall(
                b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
            )
        for _ in range(10):
            assert client.post("/v1/events", json=EVENT).status_code == 200
        for connection in slow:
            connection.close()
        assert client.get("/v1/recommendations").status_code == 200
        assert load.in_flight == 0


def test_many_at_once_are_answered_or_put_off_and_none_hangs(busy: FastAPI) -> None:
    statuses: list[int] = []
    with serving(busy) as client:

        def ask() -> None:
            for _ in range(10):
                statuses.append(client.get("/v1/recommendations?user_id=ada").status_code)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(statuses) == 160
        assert set(statuses) <= {200, 429}
        assert 200 in statuses
        assert busy.state.service.load.in_flight == 0


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_refused_however_it_is_sent(busy: FastAPI, chunked: bool) -> None:
    part = b'{"a": "' + b"x" * 99_993
    with serving(busy) as client:
        content: Any = (part for _ in range(11)) if chunked else part * 11
        answer = client.post("/v1/events", content=content)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        with raw(client) as connection:  # refused before it is sent
            connection.sendall(
                b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_pages_of_other_origins_may_not_call_unless_named(tmp_path: Path) -> None:
    named = "https://shop.example"
    with serving(create_app(limited(tmp_path, cors_origins=[named]))) as client:

        def post(origin: str) -> httpx.Response:
            return client.post("/v1/events", json=EVENT, headers={"Origin": origin})

        own = str(client.base_url).rstrip("/")
        assert post(own).status_code == 200
        allowed = post(named)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == named
        for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
            refused = post(origin)
            assert refused.status_code == 403
            assert "cors_origins" in refused.json()["detail"]
            assert "access-control-allow-origin" not in refused.headers
        asked = {"Origin": named, "Access-Control-Request-Method": "POST"}
        preflight = client.options("/v1/events", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == named
    with serving(create_app(shop_settings(tmp_path))) as client:
        headers = {"Origin": named, "Access-Control-Request-Method": "GET"}
        assert "access-control-allow-origin" not in client.get("/healthz", headers=headers).headers
        assert client.options("/v1/recommendations", headers=headers).status_code == 403


def test_answers_carry_the_requests_id_and_careful_headers(busy: FastAPI) -> None:
    with serving(busy) as client:
        sent = "checkout-7f3a.12"
        assert (
            client.get("/healthz", headers={"X-Request-ID": sent}).headers["x-request-id"] == sent
        )
        made = set()
        for unusable in ("short", "x" * 200, 'a"b<script>', "übermorgen".encode()):
            headers = httpx.Headers({b"X-Request-ID": unusable})  # type: ignore[dict-item]
            made.add(client.get("/v1/nowhere", headers=headers).headers["x-request-id"])
        assert len(made) == 4
        assert all(len(request_id) == 32 for request_id in made)
        answer = client.get("/v1/recommendations")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
