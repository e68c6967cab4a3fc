"""Group commit: appends that arrive while one is being written share the next write.

A durable write costs a wait for the disk (or the database), whatever it holds. So one thread at a
time writes, for all who have come by then; when it is done it tells them, and the first of those
who came meanwhile writes next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from vitrina.schema import Event

MOST_EVENTS: Final = 5_000
"""Events in one write, about: those who wait behind it wait for milliseconds."""


class _Ticket:
    """One caller's events, and what became of them."""

    __slots__ = ("_call", "done", "error", "events", "new")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.new = 0
        self.error: BaseException | None = None
        self.done = False
        self._call = threading.Lock()
        self._call.acquire()

    def wait(self) -> None:
        """Until the events are written, or it is this caller's turn to write."""
        self._call.acquire()

    def call(self) -> None:
        self._call.release()


class GroupCommit:
    """Makes one write of many callers' events.

    write: stores several callers' events durably, all or none, and returns how many of each were
    new; it is never called by two threads at a time. separable: whether an error of it may be the
    fault of one caller's events; then each caller's are tried alone.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Sequence[Event]]], Sequence[int]],
        separable: Callable[[BaseException], bool],
    ) -> None:
        self._write = write
        self._separable = separable
        self._waiting: list[_Ticket] = []
        self._writing = False
        self._guard = threading.Lock()

    def append(self, events: Sequence[Event]) -> int:
        """How many of the events were new, once they are durable. Raises what `write` raises."""
        if not events:
            return 0
        ticket = _Ticket(events)
        with self._guard:
            self._waiting.append(ticket)
            first, self._writing = not self._writing, True
        if not first:
            ticket.wait()
        if not ticket.done:
            self._take_turn(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.new

    def _take_turn(self, own: _Ticket) -> None:
        """Write what waits, `own` first; then tell the others, and whose turn it is."""
        with self._guard:
            events = count = 0
            while count < len(self._waiting) and (count == 0 or events < MOST_EVENTS):
                events += len(self._waiting[count].events)
                count += 1
            tickets, self._waiting = self._waiting[:count], self._waiting[count:]
        self._store(tickets)
        with self._guard:
            following = self._waiting[0] if self._waiting else None
            self._writing = following is not None
        if following is not None:
            following.call()
        for ticket in tickets:
            if ticket is not own:
                ticket.call()

    def _store(self, tickets: Sequence[_Ticket]) -> None:
        try:
            counts = self._write([ticket.events for ticket in tickets])
        except BaseException as error:  # nobody may be left waiting
            if len(tickets) > 1 and self._separable(error):
                for ticket in tickets:
                    self._store([ticket])
                return
            for ticket in tickets:
                ticket.error, ticket.done = error, True
        else:
            for ticket, ticket.new in zip(tickets, counts, strict=True):
                ticket.done = True
