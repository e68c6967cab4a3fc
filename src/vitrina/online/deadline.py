"""Answers by a deadline, though a stage hangs.

A call that hangs in a thread cannot be interrupted, so nobody waits for it: the event loop lets a
first run use FIRST_RUN of the deadline, then has a second, short run do without the part that the
first one is stuck in, and at last answers itself, with no part that could hang.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from vitrina.online.breaker import Breakers
from vitrina.online.problems import Problem
from vitrina.online.stages import FIRST_RUN, NOTHING, PARTS, Stages
from vitrina.online.turns import Turns

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
"""Runs at a time. First runs that share a core make one another late, and fight for Python's lock;
with a core more, one of them can be in Python while the other is in a library."""
_PATIENCE: Final = 0.75
"""The share of a run's time that may pass in waiting for its turn; the rest is for the work."""
_STUCK: Final = max(PARTS.values())
"""The share of the deadline after which a run counts as stuck: some part is over its budget."""

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
        self._first = Turns(min(_FIRST_RUNS, len(os.sched_getaffinity(0))))
        self._second = Turns(_SECOND_RUNS)

    def close(self) -> None:
        """End the threads, those that hang when they no longer do."""
        self._first.close()
        self._second.close()

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
        answer = await _within(work, first, self._first, seconds)
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
        answer = await _within(work, second, self._second, seconds)
        if answer is not None:
            return answer[0]
        return work(Stages(began=began, left_out=_without_any(waited)))


async def _within(
    work: Callable[[Stages], _T], stages: Stages, turns: Turns, seconds: float
) -> tuple[_T] | None:
    """What a thread makes of `work(stages)`; None if it fails or does not come before the end.

    seconds: from the request's beginning to its deadline.
    """
    return await turns.take(
        lambda: work(stages),
        late_at=stages.began + _PATIENCE * (stages.ends - stages.began),
        ends=stages.ends,
        stuck_seconds=_STUCK * seconds,
    )


def _without_any(reason: str) -> Mapping[str, str]:
    return dict.fromkeys(PARTS, reason)
