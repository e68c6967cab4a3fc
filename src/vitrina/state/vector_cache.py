"""The embedded vector cache: least recently used first out, with a time to live."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from vitrina.space import UserVector

_GENERATIONS = 4096
"""Counters shared by all shoppers. Two that share one cost each other a cache miss, no more."""


def cache_key(user_version: str, item_version: str, key: str) -> str:
    """The name of a shopper's vector in any cache: `uemb:{user}:{item}:{shopper}`."""
    return f"uemb:{user_version}:{item_version}:{key}"


class LruVectorCache:
    """`VectorCache` inside one process; safe to use from many threads.

    size: vectors kept at most; ttl_seconds: life of a vector; clock: seconds, monotonic.
    """

    def __init__(
        self, size: int, ttl_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._ttl = ttl_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, tuple[float, str, UserVector]] = OrderedDict()
        self._generations = [0] * _GENERATIONS
        self._names: dict[str, str] = {}  # shopper → name of the one vector kept

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, user_version: str, item_version: str, key: str) -> UserVector | None:
        """The shopper's vector of exactly these versions, unless it is older than its life."""
        name = cache_key(user_version, item_version, key)
        with self._lock:
            entry = self._vectors.get(name)
            if entry is None:
                return None
            expires, _, vector = entry
            if self._clock() >= expires:
                self._drop(key)
                return None
            self._vectors.move_to_end(name)
            return vector

    def generation(self, key: str) -> int:
        """A number that `invalidate(key)` changes; take it before reading the history."""
        return self._generations[hash(key) % _GENERATIONS]

    def put(self, key: str, vector: UserVector, generation: int) -> None:
        """Keep the vector, unless an event of the shopper's has come since `generation`."""
        name = cache_key(vector.user_embedding_version, vector.space.version, key)
        with self._lock:
            if self.generation(key) != generation:
                return
            self._drop(key)
            self._vectors[name] = (self._clock() + self._ttl, key, vector)
            self._names[key] = name
            if len(self._vectors) > self._size:
                _, (_, oldest, _) = self._vectors.popitem(last=False)
                del self._names[oldest]

    def invalidate(self, key: str) -> None:
        """Forget the shopper's vector, and any that is being computed from the old history."""
        with self._lock:
            self._generations[hash(key) % _GENERATIONS] += 1
            self._drop(key)

    def _drop(self, key: str) -> None:
        name = self._names.pop(key, None)
        if name is not None:
            del self._vectors[name]
