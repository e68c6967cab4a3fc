"""Answers by a deadline, though a stage hangs.

A call that hangs in a thread cannot be interrupted, so nobody waits for it: the event loop lets a
first run use FIRST_RUN of the deadline, then has a second, short run do without the part that the
first one is stuck in, and at last answers itself, with no part that could hang.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
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
"""Runs at a time: the more share a core, the more of them are late together. Those that were
given up do not count, though they may hold a thread."""

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


class Deadlines:
    """Runs the stages of requests in threads, and answers in time; one an application."""

    def __init__(self) -> None:
        self._first = anyio.CapacityLimiter(_FIRST_RUNS)
        self._second = anyio.CapacityLimiter(_SECOND_RUNS)

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
        answer = await _within(work, first, self._first)
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
        answer = await _within(work, second, self._second)
        if answer is not None:
            return answer[0]
        return work(Stages(began=began, left_out=_without_any(waited)))


async def _within(
    work: Callable[[Stages], _T], stages: Stages, limiter: anyio.CapacityLimiter
) -> tuple[_T] | None:
    """What a thread makes of `work(stages)`; None if it fails or does not come before the end."""
    with anyio.move_on_after(stages.ends - time.perf_counter()):
        try:
            return (await run_sync(work, stages, abandon_on_cancel=True, limiter=limiter),)
        except Exception:
            log.exception("A request failed; it is answered without anything that could fail.")
    return None


def _without_any(reason: str) -> Mapping[str, str]:
    return dict.fromkeys(PARTS, reason)
