"""A circuit breaker: keeps what fails or hangs out of the requests' way, and tries it again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, Literal, TypeVar

from vitrina.errors import StateError
from vitrina.online.logs import Sparingly

log = logging.getLogger(__name__)

FAILURES: Final = 5
"""Failed calls in a row that open a breaker."""
PAUSE_SECONDS: Final = 0.5
"""From the last failure to the call that tries again."""
LOST_SECONDS: Final = 10.0
"""A call that has not returned for this long is taken for lost, and no longer waited for."""

State = Literal["closed", "half-open", "open"]
STATES: Final[tuple[State, ...]] = ("closed", "half-open", "open")

_T = TypeVar("_T")


class Skipped(Exception):
    """A call that was not made; the message is the reason."""


class Breaker:
    """Lets calls of one part through, or raises `Skipped` at once. Safe to use from many threads.

    A call has failed when it raises, and when it takes longer than the budget (its result is
    used all the same). Closed: every call goes through. Open: none does, after FAILURES failures
    in a row, and while a call is in flight that is over its budget: that one cannot be interrupted,
    but no other has to wait with it. Half-open: PAUSE_SECONDS after the last failure one call goes
    through, and its success closes the breaker.

    part: its name, for the log; budget: seconds; clock: seconds, monotonic.
    """

    __slots__ = (
        "_calls",
        "_clock",
        "_failed_at",
        "_failures",
        "_in_flight",
        "_lines",
        "_lock",
        "_told",
        "_why",
        "budget",
        "part",
    )

    def __init__(
        self, part: str, budget: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.part = part
        self.budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = count()
        self._in_flight: dict[int, float] = {}  # call → when it began, oldest first
        self._failures = 0  # in a row
        self._failed_at = 0.0
        self._why = ""
        self._lines = Sparingly(log)
        self._told = False  # whether the log has that it opened

    @property
    def state(self) -> State:
        """What the next call would meet; `half-open`: it would be the one that tries."""
        with self._lock:
            if self._refusal(self._clock()) is not None:
                return "open"
            return "closed" if self._failures < FAILURES else "half-open"

    def call(self, work: Callable[[], _T]) -> _T:
        """`work()`. Raises Skipped if the breaker is open, and whatever `work` raises."""
        number = self._begin()
        try:
            result = work()
        except Exception as error:
            self._end(number, describe(error))
            raise
        self._end(number)
        return result

    def _begin(self) -> int:
        with self._lock:
            now = self._clock()
            if self._in_flight or self._failures:
                refusal = self._refusal(now)
                if refusal is not None:
                    raise Skipped(refusal)
            number = next(self._calls)
            self._in_flight[number] = now
            return number

    def _end(self, number: int, error: str | None = None) -> None:
        with self._lock:
            now = self._clock()
            began = self._in_flight.pop(number, None)
            if error is None and (began is None or now - began > self.budget):
                error = f"it took longer than its budget of {self.budget * 1e3:.3g} ms"
            was_open = self._failures >= FAILURES
            if error is None:
                self._failures = 0
            else:
                self._failures += 1
                self._failed_at = now
                self._why = error
            is_open = self._failures >= FAILURES
        if is_open and not was_open:
            line = f"The {self.part} is left out of requests: {error}."
            self._told = self._lines.log(logging.ERROR, "left out", line)
        elif was_open and not is_open and self._told:
            log.info("The %s is back.", self.part)

    def _refusal(self, now: float) -> str | None:
        """Why a call that begins now must not go through; None: it may. Wants the lock held."""
        while self._in_flight:
            number, began = next(iter(self._in_flight.items()))
            if now - began <= LOST_SECONDS:
                break
            del self._in_flight[number]
        else:
            began = now
        if now - began > self.budget:
            return (
                f"a call has been running for {(now - began) * 1e3:.0f} ms, its budget is "
                f"{self.budget * 1e3:.3g} ms"
            )
        if self._failures >= FAILURES and (
            self._in_flight or now - self._failed_at < PAUSE_SECONDS
        ):
            return f"the last {self._failures} calls failed, {self._why}"
        return None


def describe(error: BaseException) -> str:
    """An exception in one line, for clients: its type and the first line of its message.

    Of a store's, only the type: the message says where the store is, and is in the log.
    """
    lines = [""] if isinstance(error, StateError) else str(error).splitlines() or [""]
    if isinstance(error, Skipped):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__


Breakers = Mapping[str, Breaker]
"""By the name of the part, as in `stages.PARTS`."""
