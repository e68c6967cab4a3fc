"""The circuit breaker: when calls go through, and when they are not made."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.online.breaker import FAILURES, LOST_SECONDS, PAUSE_SECONDS, Breaker, Skipped

BUDGET = 0.01


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("index", BUDGET, clock)


def fail() -> None:
    raise OSError("the disk is away")


def break_down(breaker: Breaker) -> None:
    for _ in range(FAILURES):
        with pytest.raises(OSError, match="disk"):
            breaker.call(fail)


class Hanging:
    """A call that is in flight, in a thread, until `end`."""

    def __init__(self, breaker: Breaker) -> None:
        began, self._end = threading.Event(), threading.Event()

        def hang() -> None:
            began.set()
            self._end.wait(30)

        self._thread = threading.Thread(target=breaker.call, args=(hang,))
        self._thread.start()
        assert began.wait(30)

    def end(self) -> None:
        self._end.set()
        self._thread.join()


def test_it_opens_after_failures_in_a_row_and_says_why(breaker: Breaker, clock: Clock) -> None:
    break_down(breaker)
    assert breaker.state == "open"
    with pytest.raises(Skipped, match="last 5 calls failed, OSError: the disk is away"):
        breaker.call(lambda: "not called")


def test_a_success_in_between_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(3 * FAILURES):
        with pytest.raises(OSError, match="disk"):
            breaker.call(fail)
        assert breaker.call(lambda: 7) == 7
    assert breaker.state == "closed"


def test_after_a_pause_one_call_tries_and_its_success_closes(
    breaker: Breaker, clock: Clock
) -> None:
    break_down(breaker)
    clock.now += PAUSE_SECONDS + 0.001
    assert breaker.state == "half-open"
    trying = Hanging(breaker)
    with pytest.raises(Skipped):
        breaker.call(lambda: "another")
    trying.end()
    assert breaker.state == "closed"
    assert breaker.call(lambda: 7) == 7


def test_a_try_that_fails_begins_another_pause(breaker: Breaker, clock: Clock) -> None:
    break_down(breaker)
    clock.now += PAUSE_SECONDS + 0.001
    with pytest.raises(OSError, match="disk"):
        breaker.call(fail)
    assert breaker.state == "open"


def test_calls_over_the_budget_are_failures_though_their_results_are_used(
    breaker: Breaker, clock: Clock
) -> None:
    def slow() -> int:
        clock.now += 2 * BUDGET
        return 7

    assert [breaker.call(slow) for _ in range(FAILURES)] == [7] * FAILURES
    with pytest.raises(Skipped, match="longer than its budget of 10 ms"):
        breaker.call(slow)


def test_nobody_waits_with_a_call_that_hangs(breaker: Breaker, clock: Clock) -> None:
    hanging = Hanging(breaker)
    assert breaker.call(lambda: 7) == 7  # it may yet be in time
    clock.now += 2 * BUDGET
    with pytest.raises(Skipped, match="running for 20 ms, its budget is 10 ms"):
        breaker.call(lambda: 7)
    hanging.end()
    assert breaker.call(lambda: 7) == 7  # one slow call is no reason to do without


def test_a_call_that_never_returns_is_given_up(breaker: Breaker, clock: Clock) -> None:
    hanging = Hanging(breaker)
    clock.now += LOST_SECONDS
    assert breaker.state == "open"
    clock.now += 1
    assert breaker.call(lambda: 7) == 7
    hanging.end()
    assert breaker.state == "closed"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["works", "fails", "is slow"]),
            st.floats(0, 2 * PAUSE_SECONDS, allow_nan=False),
        ),
        max_size=60,
    )
)
def test_only_a_row_of_failures_keeps_calls_from_being_made(
    steps: list[tuple[str, float]],
) -> None:
    clock = Clock()
    breaker = Breaker("index", BUDGET, clock)
    failures, failed_at = 0, 0.0

    def slow() -> None:
        clock.now += 2 * BUDGET

    works: dict[str, Callable[[], None]] = {
        "works": lambda: None,
        "fails": fail,
        "is slow": slow,
    }
    for kind, pause in steps:
        clock.now += pause
        refused = failures >= FAILURES and clock.now - failed_at < PAUSE_SECONDS
        try:
            breaker.call(works[kind])
            assert not refused
        except Skipped:
            assert refused
            continue
        except OSError:
            assert not refused
        failures = 0 if kind == "works" else failures + 1
        failed_at = clock.now
