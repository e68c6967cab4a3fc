"""PostgreSQL with Redis before it: copies that must not outlive what they were made from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import psycopg
import pytest

from served import eventually
from stores import PostgresServer, RedisServer, Wire, event
from vitrina.errors import Unconfirmed
from vitrina.schema import History, Purchases
from vitrina.settings import ServeSettings, Settings, StateSettings
from vitrina.space import EmbeddingSpace, UserVector
from vitrina.state import postgres_statements as sql
from vitrina.state.opening import open_stores
from vitrina.state.redis_link import RedisLink
from vitrina.state.shared import SharedState


@pytest.fixture
def wire(postgres: PostgresServer) -> Iterator[Wire]:
    """A way to PostgreSQL, whose database is empty."""
    folder = parse_qs(urlsplit(postgres.emptied()).query)["host"][0]
    wire = Wire(Path(folder) / ".s.PGSQL.5432")
    yield wire
    wire.close()


def test_nobody_hears_of_an_erasure_and_no_copy_outlives_it(
    wire: Wire, postgres: PostgresServer, redis: RedisServer
) -> None:
    there = urlsplit(postgres.uri)
    unsure = SharedState(
        f"postgresql://{there.username}@127.0.0.1:{wire.port}{there.path}",
        RedisLink(redis.address, timeout_ms=2000),
    )
    reader = SharedState(postgres.uri, RedisLink(redis.address, timeout_ms=2000))
    refused: list[Unconfirmed] = []

    def copies() -> list[bytes]:
        found: list[bytes] = redis.client().keys(f"hist:{reader.log_id()}:*")
        return found

    def erase() -> None:
        try:
            unsure.erase("ada")
        except Unconfirmed as error:
            refused.append(error)

    try:
        reader.append([event("e1", kind="purchase")])
        reader.identify("visit", "ada")
        for key in ("ada", "session:visit"):
            assert len(reader.recent(key, 9)) == 1
        eventually(lambda: len(copies()) == 2)
        erasing = threading.Thread(target=erase)
        with psycopg.connect(postgres.uri) as import_of_histories:
            import_of_histories.execute(sql.LOCK)
            wire.loses = b"COMMIT"
            erasing.start()
            eventually(lambda: not copies())
            # It is still true, and it may not be so for long.
            assert len(reader.recent("ada", 9)) == len(reader.recent("session:visit", 9)) == 1
        erasing.join()
        assert refused
        assert not copies()
        eventually(lambda: reader.shopper("ada", 9) == (History(), Purchases()))
        assert reader.recent("session:visit", 9) == History()

        wire.loses = None
        unsure.erase("ada")
        reader.append([event("e2", at=2**60)])
        assert len(reader.recent("ada", 9)) == len(unsure.recent("ada", 9)) == 1
        eventually(lambda: len(copies()) == 1)
    finally:
        unsure.close()
        reader.close()


def test_a_history_and_a_vector_are_one_trip_to_redis(
    postgres: PostgresServer, redis: RedisServer
) -> None:
    settings = Settings(
        state=StateSettings(log=postgres.emptied(), redis=redis.address),
        serve=ServeSettings(deadline_ms=20_000),
    )
    space = EmbeddingSpace("items_v1", 3, "f" * 64)
    vector = UserVector(np.array([0.6, 0.0, -0.8], np.float32), space, "user_v1", "learned")
    server = redis.client()
    server.flushall()

    def asked() -> int:
        """How often anybody has sent Redis something: once more with each look."""
        return int(server.info("stats")["total_reads_processed"])

    (state, vectors), (other_state, other_vectors) = open_stores(settings), open_stores(settings)
    try:
        state.append([event("e1")])
        state.identify("visit", "ada")
        for key in ("ada", "session:visit"):
            # Nobody has a copy: PostgreSQL is asked, and what it says is left in Redis.
            history, _ = state.shopper(key, 9)
            assert vectors.get("user_v1", space, key, history) is None
            vectors.put(key, vector, history)
            eventually(lambda key=key: len(server.keys(f"*:{key}")) == 2)
            other_vectors.get("user_v1", space, "nobody", History())

            before = asked()
            found, _ = other_state.shopper(key, 9)
            there = other_vectors.get("user_v1", space, key, found)
            assert asked() - before == 2
            assert found == history
            assert there is not None
            assert there.values.tolist() == vector.values.tolist()

        # A vector that an event has overtaken is made anew, without asking for another.
        other_state.append([event("e2", "jam", at=5)])
        before = asked()
        history, _ = state.shopper("ada", 9)
        assert vectors.get("user_v1", space, "ada", history) is None
        assert (len(history), asked() - before) == (2, 2)
    finally:
        for each in (vectors, other_vectors, state, other_state):
            each.close()
