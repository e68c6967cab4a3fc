"""The vector cache inside one process: least recently used first out, with a time to live."""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Final

from vitrina.schema import History
from vitrina.space import EmbeddingSpace, UserVector

FLIGHT_SECONDS: Final = 0.002
"""How long others wait for whoever makes a vector: as long as that takes, and not much longer."""

_FLIGHTS: Final = 1_024
"""Flights that are remembered, more or less; those that never land are soon dropped."""


def cache_key(user_version: str, item_version: str, key: str) -> str:
    """The name of a shopper's vector in any cache: `uemb:{user}:{item}:{shopper}`."""
    return f"uemb:{user_version}:{item_version}:{key}"


def stamp_of(history: History) -> bytes:
    """Eight bytes that are other ones for another history. 3 µs for 100 events."""
    digest = hashlib.blake2b("\0".join(history.item_ids).encode(), digest_size=8)
    digest.update(array("q", history.timestamps_us).tobytes())
    digest.update("\0".join(history.event_types).encode())
    return digest.digest()


class _Flight:
    """A vector that somebody has missed and is making."""

    __slots__ = ("landed", "made_of", "until")

    def __init__(self, made_of: tuple[bytes, str, str]) -> None:
        self.made_of = made_of
        self.until = time.monotonic() + FLIGHT_SECONDS
        self.landed = threading.Event()

    def left(self) -> float:
        """Seconds that it is still worth waiting for."""
        return self.until - time.monotonic()


class _Kept:
    """A vector, the stamp of its history, when it ends, and when it was last known to be right."""

    __slots__ = ("expires", "right_at", "stamp", "vector")

    def __init__(self, vector: UserVector, stamp: bytes, now: float, expires: float) -> None:
        self.vector = vector
        self.stamp = stamp
        self.right_at = now
        self.expires = expires


class LruVectorCache:
    """`VectorCache` inside one process; safe to use from many threads.

    Whoever misses a vector is expected to make it and to put it; others who ask for the same one
    wait for that, up to FLIGHT_SECONDS, so that it is made once however many ask at a time.

    size: vectors kept at most; ttl_seconds: life of a vector; clock: seconds, monotonic.
    """

    def __init__(
        self, size: int, ttl_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._ttl = ttl_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, _Kept] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def get(
        self, user_version: str, space: EmbeddingSpace, key: str, history: History | None
    ) -> UserVector | None:
        """The shopper's vector, if it is of exactly these versions and this history."""
        stamp = None if history is None else stamp_of(history)
        with self._lock:
            found = self._find(user_version, space, key, stamp)
            if found is not None or stamp is None:
                return found
            made_of = (stamp, user_version, space.version)
            flight = self._flights.get(key)
            if flight is None or flight.made_of != made_of or flight.left() <= 0:
                self._begin(key, made_of)
                return None
        flight.landed.wait(flight.left())
        with self._lock:
            return self._find(user_version, space, key, stamp)

    def holds(self, user_version: str, item_version: str, key: str) -> bool:
        """Whether there is a vector of these versions, of whichever history."""
        kept = self._vectors.get(key)
        return kept is not None and (
            (kept.vector.user_embedding_version, kept.vector.space.version)
            == (user_version, item_version)
        )

    def put(self, key: str, vector: UserVector, history: History) -> None:
        """Keep the vector that was made from `history`, in the place of the shopper's last."""
        stamp, now = stamp_of(history), self._clock()
        with self._lock:
            self._vectors[key] = _Kept(vector, stamp, now, now + self._ttl)
            self._vectors.move_to_end(key)
            if len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.landed.set()

    def forget(self, key: str) -> None:
        """Delete the shopper's vector."""
        with self._lock:
            self._vectors.pop(key, None)

    def close(self) -> None:
        """Nothing to give back."""

    def newest(self, limit: int) -> list[str]:
        """The shoppers whose vectors were asked for last, at most `limit`, the last one first."""
        with self._lock:
            return list(islice(reversed(self._vectors), limit))

    def _find(
        self, user_version: str, space: EmbeddingSpace, key: str, stamp: bytes | None
    ) -> UserVector | None:
        kept, now = self._vectors.get(key), self._clock()
        if kept is None:
            return None
        if now >= kept.expires:
            del self._vectors[key]
            return None
        vector = kept.vector
        if (vector.user_embedding_version, vector.space) != (user_version, space):
            return None
        if stamp is None:
            vector = replace(vector, stale_seconds=now - kept.right_at)
        elif stamp == kept.stamp:
            kept.right_at = now
        else:
            return None
        self._vectors.move_to_end(key)
        return vector

    def _begin(self, key: str, made_of: tuple[bytes, str, str]) -> None:
        if len(self._flights) >= _FLIGHTS:
            self._flights = {key: each for key, each in self._flights.items() if each.left() > 0}
        self._flights[key] = _Flight(made_of)
