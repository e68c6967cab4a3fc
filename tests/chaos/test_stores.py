"""Redis and PostgreSQL under two servers: what shoppers see of their faults, and what is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from chaos.drill import Drill, Fault, Shop, is_whole
from served import ServerProcess, eventually, ids, serving, shop_settings
from stores import PostgresServer, RedisServer, Wire, postgres_server, redis_server
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.registry import Registry
from vitrina.errors import StateError, Unconfirmed
from vitrina.online.app import create_app
from vitrina.online.stages import PARTS
from vitrina.schema import Event
from vitrina.settings import StateSettings
from vitrina.state.opening import REDIS_SHARE
from vitrina.state.postgres import PostgresState
from vitrina.state.postgres_connections import SILENT_SECONDS, Connections


@dataclass
class Stores:
    """What two servers share."""

    postgres: PostgresServer
    redis: RedisServer
    wire: Wire
    settings: StateSettings


@dataclass
class Pair:
    """Two servers of one shop; faults are drilled at the first."""

    stores: Stores
    shop: Shop
    neighbour: httpx.Client


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with postgres_server() as postgres, redis_server(tmp_path_factory.mktemp("redis")) as redis:
        wire = Wire(redis.port)
        settings = StateSettings(log=postgres.uri, redis=wire.address)
        yield Stores(postgres, redis, wire, settings)
        wire.close()


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, deadline_ms: float, stores: Stores
) -> Iterator[Pair]:
    settings = shop_settings(tmp_path_factory.mktemp("pair"), deadline_ms, stores.settings)
    registry = Registry(settings.paths.bundles)
    version = registry.publish(bundle_path, metrics={})
    registry.promote(version)
    bundle = load_bundle(registry.path(version))
    with serving(create_app(settings)) as one, serving(create_app(settings)) as other:
        yield Pair(stores, Shop(one, bundle), other)


def redis_killed(stores: Stores) -> Iterator[None]:
    stores.redis.kill()
    yield
    stores.redis.start()


def redis_hangs(stores: Stores) -> Iterator[None]:
    stores.redis.halt()
    yield
    stores.redis.go_on()


def redis_slow(stores: Stores) -> Iterator[None]:
    stores.wire.delay_seconds = 0.5
    yield
    stores.wire.delay_seconds = 0.0


def redis_full(stores: Stores) -> Iterator[None]:
    stores.redis.client().config_set("maxmemory", "1")
    yield
    stores.redis.client().config_set("maxmemory", "0")


def redis_garbage(stores: Stores) -> Iterator[None]:
    stores.wire.garbage = True
    yield
    stores.wire.garbage = False


_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""


def postgres_kills_connections(stores: Stores) -> Iterator[None]:
    """In the middle of whatever they do, again and again."""
    done = threading.Event()

    def strike() -> None:
        with psycopg.connect(stores.postgres.uri, autocommit=True) as connection:
            while not done.wait(0.02):
                connection.execute(_OTHERS)

    striker = threading.Thread(target=strike)
    striker.start()
    yield
    done.set()
    striker.join()


def postgres_killed(stores: Stores) -> Iterator[None]:
    stores.postgres.kill()
    yield
    stores.postgres.start()


def postgres_hangs(stores: Stores) -> Iterator[None]:
    stores.postgres.halt()
    yield
    stores.postgres.go_on()


def postgres_out_of_connections(stores: Stores) -> Iterator[None]:
    held: list[psycopg.Connection] = []
    with psycopg.connect(stores.postgres.uri, autocommit=True) as connection:
        connection.execute(_OTHERS)
    try:
        while True:
            held.append(psycopg.connect(stores.postgres.uri))
    except psycopg.OperationalError:
        pass
    yield
    for connection in held:
        connection.close()


def postgres_read_only(stores: Stores) -> Iterator[None]:
    def switch(value: str) -> None:
        with psycopg.connect(stores.postgres.uri, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            connection.execute("SELECT pg_reload_conf()")

    switch("on")
    yield
    switch("off")


FAULTS = {
    "Redis killed": redis_killed,
    "Redis hangs": redis_hangs,
    "Redis takes 500 ms": redis_slow,
    "Redis full": redis_full,
    "Redis answers garbage": redis_garbage,
    "PostgreSQL kills connections": postgres_kills_connections,
    "PostgreSQL killed": postgres_killed,
    "PostgreSQL hangs": postgres_hangs,
    "PostgreSQL out of connections": postgres_out_of_connections,
    "PostgreSQL read-only": postgres_read_only,
}


@pytest.mark.parametrize("name", FAULTS)
def test_shoppers_see_nothing_of_it_and_no_event_is_lost(
    name: str, pair: Pair, run_drill: Callable[[Fault, Shop], Drill], pytestconfig: pytest.Config
) -> None:
    if name == "PostgreSQL hangs" and not is_whole(pytestconfig):
        pytest.skip("each event waits for seconds; its own test, below, is quicker")
    strike = contextmanager(FAULTS[name])
    fault = Fault(name, lambda _: strike(pair.stores), None, {"learned"})
    seen = run_drill(fault, pair.shop)
    assert max(seen.seconds) < 5
    assert seen.acknowledged > 2 or name.startswith("PostgreSQL")


def post(client: httpx.Client, user: str, item: str) -> None:
    event = {"user_id": user, "item_id": item, "event_type": "view"}
    assert client.post("/v1/events", json=event).status_code == 200


def shown(client: httpx.Client, user: str) -> list[str]:
    query = {"user_id": user, "shelf": "discover"}
    return ids(client.get("/v1/recommendations", params=query).json())


def history(client: httpx.Client, user: str) -> list[str]:
    events = client.get(f"/v1/users/{user}/history").json()["events"]
    return [event["item_id"] for event in events]


def test_a_redis_that_hangs_leaves_time_to_ask_postgresql() -> None:
    assert PARTS["history store"] > REDIS_SHARE


def test_an_event_sent_to_one_server_is_in_the_next_answer_of_the_other(pair: Pair) -> None:
    one, other = pair.shop.client, pair.neighbour
    for item in ("item-0003", "item-0040", "item-0077"):
        before = shown(other, "eve")
        post(one, "eve", item)
        assert shown(other, "eve") != before
        one, other = other, one
    assert shown(one, "eve") == shown(other, "eve")


def test_copies_that_fell_behind_while_redis_hung_catch_up(pair: Pair) -> None:
    one, other = pair.shop.client, pair.neighbour
    post(one, "fay", "item-0003")
    assert history(one, "fay") == history(other, "fay") == ["item-0003"]
    pair.stores.redis.halt()
    try:
        post(one, "fay", "item-0040")
        assert history(one, "fay") == ["item-0003", "item-0040"]
        assert history(other, "fay") == ["item-0003", "item-0040"]
    finally:
        pair.stores.redis.go_on()
    eventually(lambda: history(other, "fay") == ["item-0003", "item-0040"])
    copies = pair.stores.redis.client()
    eventually(lambda: bool(history(one, "fay") and copies.keys("hist:*:fay")))
    assert history(one, "fay") == history(other, "fay") == ["item-0003", "item-0040"]


def test_a_stopped_postgresql_neither_holds_events_for_ever_nor_promises_anything(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connections, "answer_seconds", 1.0)
    client = pair.shop.client

    def send(item: str) -> httpx.Response:
        event = {"event_id": f"hal-{item}", "user_id": "hal", "item_id": item, "event_type": "view"}
        return client.post("/v1/events", json=event)

    def refusal(item: str) -> str:
        answer = send(item)
        assert answer.status_code == 503
        return str(answer.json()["detail"])

    assert send("item-0003").status_code == 200
    pair.stores.postgres.halt()
    try:
        assert "has not confirmed the events" in refusal("item-0040")
        started = time.perf_counter()
        assert "No event was stored" in refusal("item-0077")
        assert time.perf_counter() - started < SILENT_SECONDS
        assert len(shown(client, "hal")) == 20
    finally:
        pair.stores.postgres.go_on()
    eventually(lambda: send("item-0040").status_code == send("item-0077").status_code == 200)
    assert sorted(history(client, "hal")) == ["item-0003", "item-0040", "item-0077"]


def test_a_connection_lost_in_the_middle_leaves_it_open_what_was_done(stores: Stores) -> None:
    connections = Connections(stores.postgres.uri, lambda db: None)
    try:
        with pytest.raises(Unconfirmed):
            connections.use(lambda db: db.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
        with pytest.raises(StateError) as refused:
            connections.use(lambda db: db.execute("SELECT 1 / 0"))
        assert not isinstance(refused.value, Unconfirmed)
    finally:
        connections.close()


def test_an_event_whose_commit_nobody_heard_of_is_in_the_history_when_it_is_sent_again(
    pair: Pair,
) -> None:
    client = pair.shop.client
    post(client, "ivy", "item-0003")
    sign_in = {"session_id": "visit", "user_id": "ivy"}
    assert client.post("/v1/identities", json=sign_in).status_code == 200
    assert history(client, "ivy") == history(client, "session:visit") == ["item-0003"]
    lost = [
        {"event_id": "ivy-1", "item_id": "item-0040", "event_type": "view", "user_id": "ivy"},
        {"event_id": "ivy-2", "item_id": "item-0077", "event_type": "view", "session_id": "visit"},
    ]
    for seen, event in enumerate(lost, start=2):
        unheard = PostgresState(pair.stores.postgres.uri)  # commits, and tells Redis nothing
        unheard.append([Event(**event, timestamp_us=seen)])
        unheard.close()
        answer = client.post("/v1/events", json=event).json()
        assert (answer["accepted"], answer["duplicates"]) == (0, 1)
        assert len(history(client, "ivy")) == len(history(client, "session:visit")) == seen


@pytest.mark.parametrize("shared", [False, True], ids=["SQLite", "PostgreSQL and Redis"])
def test_kill_9_of_a_server_under_load_loses_and_doubles_nothing(
    shared: bool, tmp_path: Path, registry: Registry, request: pytest.FixtureRequest
) -> None:
    state = request.getfixturevalue("stores").settings if shared else None
    server = ServerProcess.start(tmp_path, state)
    url = server.client.base_url
    acknowledged: list[str] = []
    sent: list[list[dict[str, str]]] = []

    def shopper(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for n in range(10_000):
                items = [f"item-{number}-{n}-{part}" for part in range(3)]
                events = [
                    {"event_id": item, "item_id": item, "event_type": "view", "user_id": "gus"}
                    for item in items
                ]
                sent.append(events)
                try:
                    if client.post("/v1/events", json=events).status_code == 200:
                        acknowledged.extend(items)
                except httpx.TransportError:
                    return

    threads = [threading.Thread(target=shopper, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 150)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()

    again = ServerProcess.start(tmp_path, state)
    try:
        found = Counter(
            event["item_id"] for event in again.client.get("/v1/users/gus/export").json()["history"]
        )
        assert set(acknowledged) <= set(found)
        assert set(found.values()) == {1}
        for events in sent[-8:]:  # whoever has got no answer sends again
            assert again.client.post("/v1/events", json=events).status_code == 200
        started = time.perf_counter()
        logged = Counter(
            event["event_id"] for event in again.client.get("/v1/users/gus/export").json()["events"]
        )
        assert time.perf_counter() - started < 20
        assert set(logged.values()) == {1}
        assert set(acknowledged) <= set(logged)
    finally:
        again.stop()
