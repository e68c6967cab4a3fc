"""Answers by a deadline, though a stage hangs.

A call that hangs in a thread cannot be interrupted, so nobody waits for it: the event loop lets a
first run use FIRST_RUN of the deadline, then has a second, short run do without the part that the
first one is stuck in, and at last answers itself, with no part that could hang.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio
from anyio.to_thread import run_sync

from vitrina.online.breaker import Breakers
from vitrina.online.problems import Problem
from vitrina.online.stages import FIRST_RUN, NOTHING, PARTS, Stages

log = logging.getLogger(__name__)

HEADER: Final = "Deadline-Ms"
MAX_DEADLINE_MS: Final = 60_000.0

DEADLINE: Final = (
    HEADER,
    {"type": "number", "minimum": 1, "maximum": MAX_DEADLINE_MS},
    "Milliseconds until the answer is wanted; default: `[serve] deadline_ms`. What takes longer "
    "is left out, and named in `degraded`.",
)
"""The header in OpenAPI: name, schema, description."""

_SECOND_RUN: Final = 0.95
"""The share of the deadline at whose end the second run is given up, too."""
_DEAR: Final = ("encoder", "ranker")
"""What a second run does without when the first was stuck nowhere: there is too much to do."""
_FIRST_RUNS, _SECOND_RUNS = 2, 2
"""Runs at a time: the more share a core, the more of them are late together."""
_PATIENCE: Final = 0.75
"""The share of a run's time that may pass in waiting for its turn; the rest is for the work."""

_T = TypeVar("_T")


def deadline_ms(header: str | None, default: float) -> float:
    """The request's deadline in milliseconds. Raises Problem (422) for a header that is no such."""
    if header is None:
        return default
    try:
        wanted = float(header)
    except ValueError:
        wanted = 0.0
    if not 1 <= wanted <= MAX_DEADLINE_MS:  # also refuses NaN
        raise Problem(
            422,
            f"The header {HEADER} is {header[:100]!r}, expected milliseconds from 1 to "
            f"{MAX_DEADLINE_MS:,.0f}.",
        )
    return wanted


class Turns:
    """At most `count` at a time; who comes while all are taken waits, for one event loop.

    The first come is served first as long as that is in time. When it no longer is, there is more
    to do than time, and the last come is served first (adaptive LIFO; Maurer, "Fail at Scale", ACM
    Queue 2015): in order, all would be served when it is too late.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, late_at: float) -> AsyncIterator[None]:
        """A turn, until the block is left. late_at: when it would come too late, as
        `time.perf_counter`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(late_at)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, late_at: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        waiting = late_at, turn
        self._waiting.append(waiting)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came in the same moment
                self._pass_on()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def _pass_on(self) -> None:
        waiting = self._waiting
        while waiting:
            late_at, _ = waiting[0]
            _, turn = waiting.pop() if time.perf_counter() > late_at else waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Deadlines:
    """Runs the stages of requests in threads, and answers in time; one an application."""

    def __init__(self) -> None:
        self._first = Turns(_FIRST_RUNS)
        self._second = Turns(_SECOND_RUNS)
        self._threads = anyio.CapacityLimiter(math.inf)

    async def keep(
        self,
        work: Callable[[Stages], _T],
        breakers: Breakers,
        seconds: float,
        left_out: Mapping[str, str] = NOTHING,
    ) -> _T:
        """`work(stages)`, within `seconds` or a little later, without the parts `left_out`.

        work must be quick and touch nothing that can hang when all PARTS are left out.
        """
        began = time.perf_counter()
        first = Stages(breakers, began, began + FIRST_RUN * seconds, left_out)
        answer = await self._within(work, first, self._first)
        if answer is not None:
            return answer[0]
        waited = f"no answer within {FIRST_RUN * seconds * 1e3:.3g} ms"
        if not first.begun:  # the queue is long, and a second run would make it longer
            return work(Stages(began=began, left_out=_without_any(waited)))
        stuck = (first.calling,) if first.calling else _DEAR
        second = Stages(
            breakers,
            began,
            began + _SECOND_RUN * seconds,
            {**left_out, **dict.fromkeys(stuck, waited)},
        )
        answer = await self._within(work, second, self._second)
        if answer is not None:
            return answer[0]
        return work(Stages(began=began, left_out=_without_any(waited)))

    async def _within(
        self, work: Callable[[Stages], _T], stages: Stages, turns: Turns
    ) -> tuple[_T] | None:
        """What a thread makes of `work(stages)`; None if it fails or does not come before the end.

        The turn of a run that is given up is passed on, though it may hold its thread.
        """
        late_at = stages.began + _PATIENCE * (stages.ends - stages.began)
        with anyio.move_on_after(stages.ends - time.perf_counter()):
            try:
                async with turns.taken(late_at):
                    answer = await run_sync(
                        work, stages, abandon_on_cancel=True, limiter=self._threads
                    )
                return (answer,)
            except Exception:
                log.exception("A request failed; it is answered without anything that could fail.")
        return None


def _without_any(reason: str) -> Mapping[str, str]:
    return dict.fromkeys(PARTS, reason)
