"""Turns: work that may hang, done in threads, so many pieces at a time.

What hangs cannot be interrupted, so it loses its turn to the next, and keeps its thread until it
comes back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Turns:
    """At most `count` pieces of work at a time, for one event loop; who comes meanwhile waits.

    The first come is served first as long as that is in time. When it no longer is, there is more
    to do than time, and the last come is served first (adaptive LIFO; Maurer, "Fail at Scale", ACM
    Queue 2015): in order, all would be served when it is too late.

    The threads are its own: a trip to one and back takes half the time of one to a pool's.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[_Work[Any]] = deque()
        self._idle: list[_Worker] = []
        self._closed = False

    async def take(
        self, call: Callable[[], _T], *, late_at: float, ends: float, stuck_seconds: float
    ) -> tuple[_T] | None:
        """What `call()` returns in a thread; None if it raises or is not done when it `ends`.

        late_at: when its turn would come too late; ends: when nobody waits for it any more, both as
        `time.perf_counter`. stuck_seconds: how long a turn lasts at most.
        """
        loop = asyncio.get_running_loop()
        work = _Work(call, loop.create_future(), late_at, stuck_seconds)
        timer = loop.call_later(ends - time.perf_counter(), work.give_up)
        if self._free:
            self._begin(work)
        else:
            self._waiting.append(work)
        try:
            return await work.answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the threads; those at work do so when it is done."""
        self._closed = True
        while self._idle:
            self._idle.pop().jobs.put(None)

    def _begin(self, work: _Work[Any]) -> None:
        self._free -= 1
        worker = self._idle.pop() if self._idle else _Worker(self._end)
        loop = work.answer.get_loop()
        work.turn = loop.call_later(work.stuck_seconds, self._pass_on, work)
        worker.jobs.put(work)

    def _end(self, worker: _Worker, work: _Work[Any], outcome: tuple[Any] | None) -> None:
        """Called in the event loop when a thread is done."""
        if self._closed:
            worker.jobs.put(None)
        else:
            self._idle.append(worker)
        if work.turn is not None:
            work.turn.cancel()
            self._pass_on(work)
        if not work.answer.done():
            work.answer.set_result(outcome)

    def _pass_on(self, work: _Work[Any]) -> None:
        """Take the turn from a piece of work, which may go on without one."""
        work.turn = None
        self._free += 1
        waiting = self._waiting
        while waiting:
            late = time.perf_counter() > waiting[0].late_at
            following = waiting.pop() if late else waiting.popleft()
            if not following.answer.done():
                self._begin(following)
                return


class _Work(Generic[_T]):
    """Something to do, and the answer that somebody waits for. turn: its end, while it lasts."""

    __slots__ = ("answer", "call", "context", "late_at", "stuck_seconds", "turn")

    def __init__(
        self,
        call: Callable[[], _T],
        answer: asyncio.Future[tuple[_T] | None],
        late_at: float,
        stuck_seconds: float,
    ) -> None:
        self.call = call
        self.answer = answer
        self.late_at = late_at
        self.stuck_seconds = stuck_seconds
        self.context: Context = copy_context()
        self.turn: asyncio.TimerHandle | None = None

    def give_up(self) -> None:
        """Let nobody wait for it any more."""
        if not self.answer.done():
            self.answer.set_result(None)

    def done(self) -> tuple[_T] | None:
        """What comes of it; None if it raises."""
        try:
            return (self.call(),)
        except Exception:
            log.exception("A request failed; it is answered without anything that could fail.")
            return None


class _Worker(threading.Thread):
    """A thread that does one thing after the other, and tells the event loop what came of it."""

    def __init__(self, end: Callable[[_Worker, _Work[Any], tuple[Any] | None], None]) -> None:
        super().__init__(name="vitrina-request", daemon=True)  # what hangs must not keep a server
        self.jobs: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._end = end
        self.start()

    def run(self) -> None:
        while (work := self.jobs.get()) is not None:
            outcome = work.context.run(work.done)
            try:
                work.answer.get_loop().call_soon_threadsafe(self._end, self, work, outcome)
            except RuntimeError:  # the event loop has been closed
                return
            del work, outcome  # or they would be kept until the next request
