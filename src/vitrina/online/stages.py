"""What wraps the stages of a request from outside: a clock, and a net under each stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

log = logging.getLogger(__name__)

STAGES: Final = ("history", "user_vector", "candidates", "rank", "hydrate")
"""The stages of a recommendation, in the order of the data."""

_T = TypeVar("_T")


class Stages:
    """The stages of one request: how long each took (ms) and which did not go as planned.

    degraded: one `stage: reason` for every failure that was answered by a fallback.
    """

    __slots__ = ("_started", "degraded", "timings_ms")

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.timings_ms: dict[str, float] = {}
        self.degraded: list[str] = []

    def run(self, stage: str, work: Callable[[], _T], fallback: Callable[[], _T]) -> _T:
        """`work()`, or `fallback()` if that raises: a broken stage never breaks the answer."""
        started = time.perf_counter()
        try:
            return work()
        except Exception as error:
            log.warning("The stage '%s' failed; its fallback answers.", stage, exc_info=True)
            self.degraded.append(f"{stage}: {describe(error)}")
            return fallback()
        finally:
            self.timings_ms[stage] = _ms_since(started)

    def finish(self) -> dict[str, float]:
        """All timings, with the total since the request began."""
        self.timings_ms["total"] = _ms_since(self._started)
        return self.timings_ms


def describe(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 4)
