"""The three pieces of online state, each a small protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vitrina.schema import RECENT_DAYS, Event, History, Purchases
from vitrina.space import UserVector


def forgetting(age_us: int) -> float:
    """What a purchase counts beside one that is `age_us` newer (`Purchases.recent`): e^(−age/τ)."""
    return math.exp(-age_us / (RECENT_DAYS * 86_400e6))


@dataclass(frozen=True, slots=True)
class LogRows:
    """n events of a log, a sequence a column. columns: by the names of `Event`'s fields."""

    offsets: Sequence[int]
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.offsets)


class EventLog(Protocol):
    """The durable record of what shoppers did; the only thing that passes back to the lake."""

    def append(self, events: Sequence[Event]) -> int:
        """Store events; when this returns they survive a crash and are in the histories.

        Idempotent by event_id. Returns how many were new.
        """
        ...

    def read(self, after: int, limit: int) -> LogRows:
        """Up to `limit` events with an offset above `after`, in offset order.

        Offsets grow in the order of acknowledgement: whoever reads on after the last offset that
        they have seen misses no event, however many are being appended meanwhile.
        """
        ...

    def log_id(self) -> str:
        """A name that no other log has; offsets count within it."""
        ...

    def event_id_at(self, offset: int) -> str | None:
        """The event at an offset; None if the log has none there."""
        ...

    def trim(self, before: int, received_before_us: int) -> int:
        """Delete events with an offset below `before` that were received earlier than a moment.

        Histories keep them; sent again, they count as new. Returns how many were deleted.
        """
        ...


class HistoryStore(Protocol):
    """Each shopper's events, by history key (`Event.history_key`)."""

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key."""
        ...

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought; empty for an unknown key."""
        ...


class VectorCache(Protocol):
    """User vectors by (user version, item version, shopper); a stale version never matches.

    A reader takes `generation(key)` *before* it reads the shopper's history and hands it to `put`:
    when an event arrived in between (`invalidate`), the vector is of the past and is not kept.
    """

    def get(self, user_version: str, item_version: str, key: str) -> UserVector | None: ...

    def generation(self, key: str) -> int:
        """A number that `invalidate(key)` changes."""
        ...

    def put(self, key: str, vector: UserVector, generation: int) -> None:
        """Keep the vector, unless the shopper's generation is no longer `generation`."""
        ...

    def invalidate(self, key: str) -> None:
        """Forget the shopper's vector: their own event has made it stale."""
        ...
