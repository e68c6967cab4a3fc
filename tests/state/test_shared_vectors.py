"""Vectors that processes share: one that another has made, and never a stale one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from served import eventually
from stores import RedisServer, redis_server
from vitrina.schema import History
from vitrina.space import EmbeddingSpace, UserVector
from vitrina.state.redis_link import RedisLink
from vitrina.state.shared_vectors import SharedVectorCache
from vitrina.state.vector_cache import LruVectorCache

SPACE = EmbeddingSpace("items_v1", 3, "f" * 64)
MADE_FROM = History(("soup", "tea"), ("view", "view"), (1, 2))
VECTOR = UserVector(np.array([0.6, 0.0, -0.8], np.float32), SPACE, "user_v1", "learned")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def process(server: RedisServer) -> Iterator[Callable[[], SharedVectorCache]]:
    """Opens the cache as one more process."""
    caches: list[SharedVectorCache] = []

    def start() -> SharedVectorCache:
        link = RedisLink(server.address, timeout_ms=2000)
        caches.append(SharedVectorCache(LruVectorCache(10, 60), link, 60))
        return caches[-1]

    yield start
    for cache in caches:
        cache.close()


def test_a_vector_made_by_one_process_is_found_by_another(
    process: Callable[[], SharedVectorCache], server: RedisServer
) -> None:
    process().put("ada", VECTOR, MADE_FROM)
    eventually(lambda: bool(server.client().keys("*")))
    found = process().get("user_v1", SPACE, "ada", MADE_FROM)
    assert found is not None
    assert found.values.tolist() == VECTOR.values.tolist()
    assert (found.space, found.user_embedding_version, found.rung) == (SPACE, "user_v1", "learned")
    (name,) = server.client().keys("*")
    assert name == b"uemb:user_v1:items_v1:ada"
    assert 0 < server.client().pttl(name) <= 60_000


def test_another_history_version_or_space_never_matches(
    process: Callable[[], SharedVectorCache], server: RedisServer
) -> None:
    process().put("ada", VECTOR, MADE_FROM)
    eventually(lambda: bool(server.client().keys("*")))
    other = process()
    newer = History(("soup", "tea", "jam"), ("view",) * 3, (1, 2, 3))
    assert other.get("user_v1", SPACE, "ada", newer) is None
    assert other.get("user_v2", SPACE, "ada", MADE_FROM) is None
    assert other.get("user_v1", SPACE, "bob", MADE_FROM) is None
    for space in (
        EmbeddingSpace("items_v1", 3, "e" * 64),
        EmbeddingSpace("items_v1", 4, "f" * 64),
        EmbeddingSpace("items_v2", 3, "f" * 64),
    ):
        assert other.get("user_v1", space, "ada", MADE_FROM) is None


def test_what_one_process_forgets_is_gone_for_those_that_lack_it(
    process: Callable[[], SharedVectorCache], server: RedisServer
) -> None:
    cache = process()
    cache.put("ada", VECTOR, MADE_FROM)
    cache.get("user_v1", SPACE, "ada", MADE_FROM)
    eventually(lambda: bool(server.client().keys("*")))
    cache.forget("ada")
    assert server.client().keys("*") == []
    assert cache.get("user_v1", SPACE, "ada", MADE_FROM) is None


def test_garbage_a_full_and_a_dead_redis_only_cost_the_second_level(
    process: Callable[[], SharedVectorCache], server: RedisServer
) -> None:
    cache, other = process(), process()
    server.client().set("uemb:user_v1:items_v1:ada", b"garbage")
    assert other.get("user_v1", SPACE, "ada", MADE_FROM) is None
    server.client().config_set("maxmemory", "1")
    cache.put("bob", VECTOR, MADE_FROM)
    server.kill()
    cache.put("ada", VECTOR, MADE_FROM)
    for key in ("ada", "bob"):
        assert cache.get("user_v1", SPACE, key, MADE_FROM) is not None
    assert cache.newest(9) == ["bob", "ada"]
    assert other.get("user_v1", SPACE, "ada", MADE_FROM) is None
