"""What wraps the stages of a request from outside: a clock, a net, and a breaker for each part."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from vitrina.online.breaker import Breaker, Breakers, Skipped, describe

log = logging.getLogger(__name__)

STAGES: Final = ("history", "user_vector", "candidates", "rank", "hydrate")
"""The stages of a recommendation, in the order of the data."""

PARTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "history store": 0.15,
        "vector cache": 0.05,
        "encoder": 0.2,
        "index": 0.2,
        "ranker": 0.1,
        "catalog": 0.1,
    }
)
"""What a stage leans on that may fail or hang, and its share of the deadline: its budget."""

FIRST_RUN: Final = math.fsum(PARTS.values())
"""The share of the deadline in which all parts have to be done; the rest is for doing without."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_NO_BREAKERS: Final[Breakers] = MappingProxyType({})
_T = TypeVar("_T")


def make_breakers(deadline_ms: float) -> Breakers:
    """A closed breaker for each part, its budget the part's share of the deadline."""
    return {part: Breaker(part, share * deadline_ms / 1e3) for part, share in PARTS.items()}


class Stages:
    """The stages of one request: how long each took (ms) and which did not go as planned.

    breakers: what guards the parts; without, every call is made. began: when the request did
    (`time.perf_counter`), by default now. ends: from then on no part is called any more. left_out:
    parts that are not called at all, with the reason.

    degraded: one `stage: reason` for every failure that was answered by a fallback. calling: the
    part that the request is in at this moment, read by whoever waits for it.
    """

    __slots__ = ("_breakers", "_left_out", "began", "calling", "degraded", "ends", "timings_ms")

    def __init__(
        self,
        breakers: Breakers = _NO_BREAKERS,
        began: float | None = None,
        ends: float = math.inf,
        left_out: Mapping[str, str] = NOTHING,
    ) -> None:
        self._breakers = breakers
        self.ends = ends
        self._left_out = left_out
        self.began = time.perf_counter() if began is None else began
        self.timings_ms: dict[str, float] = {}
        self.degraded: list[str] = []
        self.calling: str | None = None

    def run(self, stage: str, work: Callable[[], _T], fallback: Callable[[], _T]) -> _T:
        """`work()`, or `fallback()` if that raises: a broken stage never breaks the answer."""
        started = time.perf_counter()
        try:
            return work()
        except Exception as error:
            if not isinstance(error, Skipped):
                log.warning("The stage '%s' failed; its fallback answers.", stage, exc_info=True)
            self.degraded.append(f"{stage}: {describe(error)}")
            return fallback()
        finally:
            self.timings_ms[stage] = _ms_since(started)

    def call(self, part: str, work: Callable[[], _T]) -> _T:
        """`work()`, which leans on one of PARTS.

        Raises Skipped if the part is left out, there is no time left, or its breaker is open;
        else whatever `work` raises.
        """
        if part in self._left_out:
            raise Skipped(self._left_out[part])
        if time.perf_counter() > self.ends:
            raise Skipped("no time was left")
        breaker = self._breakers.get(part)
        self.calling = part
        try:
            return work() if breaker is None else breaker.call(work)
        finally:
            self.calling = None

    def optional(self, stage: str, part: str, work: Callable[[], _T]) -> _T | None:
        """`call(part, work)`, or None if that raises: for what the stage can do without."""
        try:
            return self.call(part, work)
        except Exception as error:
            if not isinstance(error, Skipped):
                log.warning("The %s failed; it is done without.", part, exc_info=True)
            self.degraded.append(f"{stage}: the {part} failed ({describe(error)})")
            return None

    @property
    def begun(self) -> bool:
        """Whether any stage has been over, or has called a part."""
        return bool(self.timings_ms) or self.calling is not None

    def finish(self) -> dict[str, float]:
        """All timings, with the total since the request began."""
        self.timings_ms["total"] = _ms_since(self.began)
        return self.timings_ms


def server_timing(timings_ms: Mapping[str, float]) -> dict[str, str]:
    """The `Server-Timing` header (W3C), which browsers show beside the request."""
    stages = ", ".join(f"{stage};dur={spent}" for stage, spent in timings_ms.items())
    return {"Server-Timing": stages}


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 4)
