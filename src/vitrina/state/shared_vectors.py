"""User vectors in two levels: in the process, and in Redis for all of them.

    uemb:<user version>:<item version>:<shopper>    stamp, fingerprint, rung and numbers

A vector that another process has made is found in Redis when this one lacks it: it comes along with
the shopper's history, in the same trip. One that is made here is written there by a thread that no
request waits for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from vitrina.errors import StateError
from vitrina.schema import History
from vitrina.space import EmbeddingSpace, UserVector
from vitrina.state.redis_link import RedisLink
from vitrina.state.vector_cache import LruVectorCache, cache_key, stamp_of

_HEAD: Final = struct.Struct("<8s16sB")
"""Stamp of the history, the first digits of the space's fingerprint, length of the rung's name."""

_BROUGHT: Final = 1_024
"""Vectors that have come along and are remembered, more or less."""


class SharedVectorCache:
    """`VectorCache` whose vectors are kept in the process first, then in Redis.

    Without Redis it is the process's own cache. ttl_seconds: life of a vector in either.
    """

    def __init__(self, near: LruVectorCache, link: RedisLink, ttl_seconds: float) -> None:
        self._near = near
        self._link = link
        self._ttl_ms = max(1, round(ttl_seconds * 1e3))
        self._versions: set[tuple[str, str]] = set()  # that this process has asked for
        self._newest: tuple[str, str] | None = None
        self._brought: dict[str, tuple[str, bytes | None]] = {}

    def get(
        self, user_version: str, space: EmbeddingSpace, key: str, history: History | None
    ) -> UserVector | None:
        """The shopper's vector, if either level has it of these versions and this history."""
        self._newest = (user_version, space.version)
        self._versions.add(self._newest)
        brought, held = self._brought.pop(key, ("", None))
        found = self._near.get(user_version, space, key, history)
        if found is not None or history is None:
            return found
        name = cache_key(user_version, space.version, key)
        if brought != name:
            held = self._asked_for(name)
        if held is None:
            return None
        vector = _decoded(held, user_version, space, stamp_of(history))
        if vector is not None:
            self._near.put(key, vector, history)
        return vector

    def wanted(self, key: str) -> str | None:
        """The name in Redis that should come along with the shopper's history; None: none.

        What this process has may be older than the history: then it makes the vector anew, rather
        than ask for it.
        """
        if self._newest is None:
            return None
        name = cache_key(*self._newest, key)
        if not self._near.holds(*self._newest, key):
            return name
        self.bring(key, name, None)
        return None

    def bring(self, key: str, name: str, held: bytes | None) -> None:
        """What Redis has by a name that was wanted, for the `get` that follows."""
        if len(self._brought) >= _BROUGHT:  # some were never asked for
            self._brought.clear()
        self._brought[key] = (name, held)

    def put(self, key: str, vector: UserVector, history: History) -> None:
        """Keep the vector that was made from `history`, in both levels."""
        self._near.put(key, vector, history)
        name = cache_key(vector.user_embedding_version, vector.space.version, key)
        held = _encoded(vector, stamp_of(history))
        # Until then, what is there is of an earlier history, and matches none.
        self._link.later(lambda pipeline: pipeline.set(name, held, px=self._ttl_ms))

    def forget(self, key: str) -> None:
        """Delete the shopper's vectors of all versions that this process knows."""
        self._near.forget(key)
        names = [cache_key(*versions, key) for versions in self._versions]
        if names:
            self._link.change(names, lambda redis: redis.unlink(*names))

    def _asked_for(self, name: str) -> bytes | None:
        try:
            held = self._link.trip(lambda redis: redis.get(name))
        except StateError:
            return None
        return held if isinstance(held, bytes) else None

    def newest(self, limit: int) -> Sequence[str]:
        """The shoppers whose vectors this process was asked for last, the last one first."""
        return self._near.newest(limit)

    def close(self) -> None:
        """Close the way to Redis, though others may have closed it before."""
        self._link.close()


def _encoded(vector: UserVector, stamp: bytes) -> bytes:
    rung = vector.rung.encode()
    head = _HEAD.pack(stamp, vector.space.fingerprint[:16].encode(), len(rung))
    return head + rung + vector.values.astype("<f4").tobytes()


def _decoded(
    held: bytes, user_version: str, space: EmbeddingSpace, stamp: bytes
) -> UserVector | None:
    """The vector, if it was made from that history and lives in that space."""
    if len(held) < _HEAD.size:
        return None
    made_from, fingerprint, length = _HEAD.unpack_from(held)
    numbers = held[_HEAD.size + length :]
    if made_from != stamp or fingerprint != space.fingerprint[:16].encode():
        return None
    if len(numbers) != 4 * space.dim:
        return None
    rung = held[_HEAD.size : _HEAD.size + length].decode()
    return UserVector(np.frombuffer(numbers, "<f4").astype(np.float32), space, user_version, rung)
