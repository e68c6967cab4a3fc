"""The way to Redis: within a budget, and not at all while it is away.

Redis only ever holds copies. Whoever cannot get one asks the source, so every trip raises within
the budget, and after one that failed no request tries again: a thread of its own does, and tells
when Redis is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Final, TypeVar

from vitrina.errors import MissingExtra, StateError
from vitrina.settings_sources import hide_passwords

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

log = logging.getLogger(__name__)

PROBE_SECONDS: Final = 0.1
"""Time between two looks whether Redis is back."""

MOST_WAITING: Final = 1_000
"""Writes that nobody waits for are forgotten beyond so many."""

_WRITTEN_AT_ONCE: Final = 100
_DELETED_AT_ONCE: Final = 1_000

_T = TypeVar("_T")


class RedisLink:
    """One Redis server, as seen by one process. Safe to use from many threads.

    address: redis://…; timeout_ms: how long a trip may take. Raises MissingExtra without redis-py.
    """

    def __init__(self, address: str, timeout_ms: float) -> None:
        try:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.exceptions import OutOfMemoryError
            from redis.retry import Retry
        except ImportError as error:
            raise MissingExtra(
                "redis", "redis", why=f"[state] redis is {hide_passwords(address)}. "
            ) from error
        self.name = hide_passwords(address)
        seconds = timeout_ms / 1e3
        self._client = Redis.from_url(
            address,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._full = OutOfMemoryError
        self._down = threading.Event()
        self._stop = threading.Event()
        self._behind: set[str] = set()
        self._mender: threading.Thread | None = None
        self._guard = threading.Lock()
        self._waiting: Queue[Callable[[Pipeline], object]] = Queue(MOST_WAITING)
        self._writer: threading.Thread | None = None

    @property
    def up(self) -> bool:
        """Whether Redis is being used."""
        return not self._down.is_set()

    def trip(self, work: Callable[[Redis], _T]) -> _T:
        """`work` with the client. Raises StateError if it fails, at once while Redis is away.

        A Redis that has no room for a value is not away: what it holds can be read.
        """
        if self._down.is_set():
            raise StateError(f"{self.name} is away; it is used again as soon as it answers.")
        try:
            return work(self._client)
        except self._full as error:
            raise StateError(f"{self.name} is full: {_described(error)}.") from None
        except Exception as error:  # a server that answers with garbage raises anything at all
            self._give_up(error)
            raise StateError(f"{self.name}: {_described(error)}.") from None

    def change(self, names: Iterable[str], work: Callable[[Redis], object]) -> None:
        """`work`, which brings the values of these names up to date; it never raises.

        If it fails, the names are deleted before this process uses Redis again.
        """
        try:
            self.trip(work)
        except StateError as error:
            with self._guard:
                self._behind.update(names)
            self._give_up(error)

    def later(self, work: Callable[[Pipeline], object]) -> None:
        """`work` with a pipeline, soon, on a thread that no request waits for.

        It is forgotten while Redis is away, and when Redis cannot keep up.
        """
        if self._down.is_set():
            return
        with self._guard:
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write, name="vitrina-redis-writer", daemon=True
                )
                self._writer.start()
        with suppress(Full):
            self._waiting.put_nowait(work)

    def close(self) -> None:
        """Stop looking for it and close its connections."""
        self._stop.set()
        self._down.set()
        with suppress(Full):
            self._waiting.put_nowait(lambda pipeline: None)  # wakes the writer, which then ends
        if self._writer is not None:
            self._writer.join()
        if self._mender is not None:
            self._mender.join()
        self._client.close()

    def _write(self) -> None:
        """Do what is waiting, all of it in one trip."""
        while not self._stop.is_set():
            works = [self._waiting.get()]
            with suppress(Empty):
                while len(works) < _WRITTEN_AT_ONCE:
                    works.append(self._waiting.get_nowait())

            def tell(redis: Redis, works: Iterable[Callable[[Pipeline], object]] = works) -> None:
                pipeline = redis.pipeline(transaction=False)
                for work in works:
                    work(pipeline)
                pipeline.execute()

            with suppress(StateError):
                self.trip(tell)

    def _give_up(self, error: Exception) -> None:
        """Use Redis no more until it answers and nothing in it is known to be behind."""
        with self._guard:
            if self._down.is_set():
                return
            self._down.set()
            log.warning("%s is not used for now: %s.", self.name, _described(error))
            self._mender = threading.Thread(target=self._mend, name="vitrina-redis", daemon=True)
            self._mender.start()

    def _mend(self) -> None:
        while not self._stop.is_set():
            try:
                # Connections from before may be in the middle of an answer.
                self._client.connection_pool.disconnect(inuse_connections=False)
                if self._client.ping() is not True:
                    raise ValueError("it does not answer as Redis does")
                behind = list(self._behind)
                for start in range(0, len(behind), _DELETED_AT_ONCE):
                    self._client.unlink(*behind[start : start + _DELETED_AT_ONCE])
            except Exception:
                self._stop.wait(PROBE_SECONDS)
                continue
            with self._guard:
                self._behind.difference_update(behind)
                if self._behind:
                    continue
                self._down.clear()
            log.warning("%s is back.", self.name)
            return


def _described(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return hide_passwords(lines[0]) if lines else type(error).__name__
