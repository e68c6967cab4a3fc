"""The vector cache: never a vector of another version, of the past, or past its time."""

from __future__ import annotations

import threading

import numpy as np

from vitrina.space import EmbeddingSpace, UserVector
from vitrina.state.vector_cache import LruVectorCache, cache_key

SPACE = EmbeddingSpace("items_v1", 2, "f" * 64)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def vector(version: str = "user_v1", rung: str = "learned") -> UserVector:
    return UserVector(np.array([1.0, 0.0], np.float32), SPACE, version, rung)


def keep(cache: LruVectorCache, key: str, value: UserVector) -> None:
    cache.put(key, value, cache.generation(key))


def test_the_key_names_both_versions_and_the_shopper() -> None:
    assert cache_key("user_v1", "items_v1", "ada") == "uemb:user_v1:items_v1:ada"


def test_a_vector_of_another_version_never_matches() -> None:
    cache = LruVectorCache(10, 60)
    value = vector()
    keep(cache, "ada", value)
    assert cache.get("user_v1", "items_v1", "ada") is value
    assert cache.get("user_v2", "items_v1", "ada") is None
    assert cache.get("user_v1", "items_v2", "ada") is None
    assert cache.get("user_v1", "items_v1", "bob") is None


def test_a_new_version_takes_the_place_of_the_old() -> None:
    cache = LruVectorCache(10, 60)
    keep(cache, "ada", vector())
    keep(cache, "ada", vector("user_v2"))
    assert len(cache) == 1
    assert cache.get("user_v2", "items_v1", "ada") is not None


def test_the_least_recently_used_goes_first() -> None:
    cache = LruVectorCache(2, 60)
    keep(cache, "ada", vector())
    keep(cache, "bob", vector())
    cache.get("user_v1", "items_v1", "ada")
    keep(cache, "cyd", vector())
    assert cache.get("user_v1", "items_v1", "bob") is None
    assert cache.get("user_v1", "items_v1", "ada") is not None
    assert len(cache) == 2


def test_a_vector_lives_as_long_as_it_may() -> None:
    clock = Clock()
    cache = LruVectorCache(10, 60, clock)
    keep(cache, "ada", vector())
    clock.now = 59.9
    assert cache.get("user_v1", "items_v1", "ada") is not None
    clock.now = 60.0
    assert cache.get("user_v1", "items_v1", "ada") is None
    assert len(cache) == 0


def test_an_event_makes_the_shoppers_vector_go() -> None:
    cache = LruVectorCache(10, 60)
    keep(cache, "ada", vector())
    keep(cache, "bob", vector())
    cache.invalidate("ada")
    assert cache.get("user_v1", "items_v1", "ada") is None
    assert cache.get("user_v1", "items_v1", "bob") is not None


def test_a_vector_computed_while_an_event_arrives_is_not_kept() -> None:
    cache = LruVectorCache(10, 60)
    before_the_history_was_read = cache.generation("ada")
    cache.invalidate("ada")  # the event
    cache.put("ada", vector(), before_the_history_was_read)
    assert cache.get("user_v1", "items_v1", "ada") is None


def test_no_thread_ever_finds_a_vector_older_than_the_last_event() -> None:
    cache = LruVectorCache(10, 60)
    history = [0]  # the number of events; a vector's rung says how many it was made from
    failures: list[str] = []
    done = threading.Event()

    def request() -> None:
        while not done.is_set():
            acknowledged = history[0]
            generation = cache.generation("ada")
            read = history[0]
            found = cache.get("user_v1", "items_v1", "ada")
            if found is None:
                cache.put("ada", vector(rung=str(read)), generation)
            elif int(found.rung) < acknowledged - 1:  # the last event may not be acknowledged yet
                failures.append(f"{found.rung} after {acknowledged}")

    threads = [threading.Thread(target=request) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5000):
        history[0] += 1
        cache.invalidate("ada")
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
