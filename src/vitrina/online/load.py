"""How busy a process is: the one figure by which it decides what to leave out."""

from __future__ import annotations


class Load:
    """Requests that are being worked on, in this process.

    From half of `limit` on it is overloaded: events are put off, and ranking is left out, so that
    shoppers still get their answers. At the limit those are put off, too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_flight = 0

    @property
    def overloaded(self) -> bool:
        return self.in_flight >= self._limit / 2

    @property
    def full(self) -> bool:
        return self.in_flight >= self._limit
