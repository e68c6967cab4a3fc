"""The vector cache: never a vector of another version, of the past, or past its time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from vitrina.schema import History
from vitrina.space import EmbeddingSpace, UserVector
from vitrina.state import vector_cache
from vitrina.state.vector_cache import LruVectorCache, cache_key

SPACE = EmbeddingSpace("items_v1", 2, "f" * 64)
OTHER_SPACE = EmbeddingSpace("items_v2", 2, "e" * 64)
NOTHING = History()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def vector(version: str = "user_v1", rung: str = "learned") -> UserVector:
    return UserVector(np.array([1.0, 0.0], np.float32), SPACE, version, rung)


def keep(cache: LruVectorCache, key: str, value: UserVector) -> None:
    cache.put(key, value, NOTHING)


def test_the_key_names_both_versions_and_the_shopper() -> None:
    assert cache_key("user_v1", "items_v1", "ada") == "uemb:user_v1:items_v1:ada"


def test_a_vector_of_another_version_never_matches() -> None:
    cache = LruVectorCache(10, 60)
    value = vector()
    keep(cache, "ada", value)
    assert cache.get("user_v1", SPACE, "ada", NOTHING) is value
    assert cache.get("user_v2", SPACE, "ada", NOTHING) is None
    assert cache.get("user_v1", OTHER_SPACE, "ada", NOTHING) is None
    assert cache.get("user_v1", SPACE, "bob", NOTHING) is None


def test_a_new_version_takes_the_place_of_the_old() -> None:
    cache = LruVectorCache(10, 60)
    keep(cache, "ada", vector())
    keep(cache, "ada", vector("user_v2"))
    assert len(cache) == 1
    assert cache.get("user_v2", SPACE, "ada", NOTHING) is not None


def test_the_least_recently_used_goes_first() -> None:
    cache = LruVectorCache(2, 60)
    keep(cache, "ada", vector())
    keep(cache, "bob", vector())
    cache.get("user_v1", SPACE, "ada", NOTHING)
    keep(cache, "cyd", vector())
    assert cache.get("user_v1", SPACE, "bob", NOTHING) is None
    assert cache.get("user_v1", SPACE, "ada", NOTHING) is not None
    assert len(cache) == 2


def test_a_vector_lives_as_long_as_it_may() -> None:
    clock = Clock()
    cache = LruVectorCache(10, 60, clock)
    keep(cache, "ada", vector())
    clock.now = 59.9
    assert cache.get("user_v1", SPACE, "ada", NOTHING) is not None
    clock.now = 60.0
    assert cache.get("user_v1", SPACE, "ada", NOTHING) is None
    assert len(cache) == 0


def test_a_vector_matches_the_history_that_it_was_made_from_and_no_other() -> None:
    cache = LruVectorCache(10, 60)
    made_from = History(("soup", "tea"), ("view", "view"), (1, 2))
    cache.put("ada", vector(), made_from)
    same = History(["soup", "tea"], ["view", "view"], [1, 2])
    assert cache.get("user_v1", SPACE, "ada", same) is not None
    for other in (
        History(),
        History(("soup",), ("view",), (1,)),
        History(("soup", "tea"), ("view", "view"), (1, 3)),
        History(("soup", "tea"), ("view", "purchase"), (1, 2)),
        History(("soup", "milk"), ("view", "view"), (1, 2)),
    ):
        assert cache.get("user_v1", SPACE, "ada", other) is None


def test_of_a_history_that_cannot_be_read_the_last_vector_serves_and_says_how_old_it_is() -> None:
    now = 100.0
    cache = LruVectorCache(10, 60, clock=lambda: now)
    history = History(("soup",), ("view",), (1,))
    cache.put("ada", vector(), history)
    now += 5
    right = cache.get("user_v1", SPACE, "ada", history)
    assert right is not None
    assert right.stale_seconds is None
    now += 7
    last = cache.get("user_v1", SPACE, "ada", None)
    assert last is not None
    assert last.stale_seconds == 7  # since it was last seen to be that of the history
    assert last.values is right.values
    assert cache.get("user_v2", SPACE, "ada", None) is None


def test_what_is_forgotten_is_gone() -> None:
    cache = LruVectorCache(10, 60)
    keep(cache, "ada", vector())
    keep(cache, "bob", vector())
    cache.forget("ada")
    cache.forget("nobody")
    assert cache.get("user_v1", SPACE, "ada", NOTHING) is None
    assert len(cache) == 1


def test_who_asked_last_is_named_first() -> None:
    cache = LruVectorCache(10, 60)
    for name in ("ada", "bob", "cyd"):
        keep(cache, name, vector())
    cache.get("user_v1", SPACE, "ada", NOTHING)
    assert cache.newest(2) == ["ada", "cyd"]
    assert cache.newest(10) == ["ada", "cyd", "bob"]


def test_a_vector_that_many_ask_for_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_cache, "FLIGHT_SECONDS", 20.0)
    cache = LruVectorCache(10, 60)
    made: list[int] = []
    together = threading.Barrier(8)

    def request(number: int) -> None:
        together.wait()
        if cache.get("user_v1", SPACE, "ada", NOTHING) is None:
            made.append(number)
            keep(cache, "ada", vector())

    threads = [threading.Thread(target=request, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_nobody_waits_long_for_a_vector_that_does_not_come() -> None:
    cache = LruVectorCache(10, 60)
    for _ in range(3):
        assert cache.get("user_v1", SPACE, "ada", NOTHING) is None
