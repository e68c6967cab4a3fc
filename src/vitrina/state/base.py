"""The three pieces of online state, each a small protocol, and what is kept of a person."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vitrina.schema import RECENT_DAYS, Event, History, Purchases
from vitrina.space import EmbeddingSpace, UserVector

TAKEN: Final = "The session belongs to a user. Begin a new session when somebody signs out."


def forgetting(age_us: int) -> float:
    """What a purchase counts beside one that is `age_us` newer (`Purchases.recent`): e^(−age/τ)."""
    return math.exp(-age_us / (RECENT_DAYS * 86_400e6))


LIVE_US: Final = 10_000_000
"""An event of the last ten seconds is one that is happening (µs)."""


def after_erasure(moment_us: int, erased_at_us: int, now_us: int) -> int | None:
    """When an event of somebody who was erased counts as having happened; None: it is not taken.

    What happened up to the erasure must not come back. But a clock that shows less than the
    erasure's moment has been set back since, and what is happening by it happens after the
    erasure: it is placed in the 86 seconds that follow, in the order of the day's milliseconds.
    """
    if moment_us > erased_at_us:
        return moment_us
    if now_us >= erased_at_us or moment_us < now_us - LIVE_US:
        return None
    return erased_at_us + 1 + moment_us // 1_000 % 86_400_000


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
        """Store events, all or none; when this returns they survive a crash and are in the
        histories.

        Idempotent by event_id. Returns how many were new. Raises StateError if none was stored.
        """
        ...

    def read(self, after: int, limit: int) -> LogRows:
        """Up to `limit` events with an offset above `after`, in offset order.

        Offsets grow in the order of acknowledgement: whoever reads on after the last offset that
        they have seen misses no event, however many are being appended meanwhile. An event of a
        session that has joined a user has that user's id.
        """
        ...

    def log_id(self) -> str:
        """A name that no other log has; offsets count within it."""
        ...

    def event_id_at(self, offset: int) -> str | None:
        """The event at an offset; None if the log has none there."""
        ...

    def newest_offset(self) -> int:
        """The highest offset that an event has ever had; 0 if there never was one."""
        ...

    def trim(self, before: int, received_before_us: int) -> int:
        """Delete events with an offset below `before` that were received earlier than a moment.

        Histories keep them; sent again, they count as new. Returns how many were deleted.
        """
        ...

    def erasures(self) -> Sequence[Erasure]:
        """Every erasure so far, oldest first: what the lake has to leave out."""
        ...


class HistoryStore(Protocol):
    """Each shopper's events, by history key (`Event.history_key`).

    Only events that may personalise are in a history. The key of a session that has joined a user
    reads that user's history.
    """

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key.

        Events of one moment are ordered by item and type.
        """
        ...

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought, in order of item_id; empty for an unknown key."""
        ...

    def shopper(self, key: str, limit: int) -> tuple[History, Purchases]:
        """`recent` and `purchases` in one trip to the store."""
        ...


class VectorCache(Protocol):
    """User vectors by (user version, space, shopper).

    A vector is a function of history and bundle, so it is kept with the history that it was made
    from, and matches no other: an event that any process has taken makes it a miss as soon as
    the event is in the history, and no message about it can get lost or come late.
    """

    def get(
        self, user_version: str, space: EmbeddingSpace, key: str, history: History | None
    ) -> UserVector | None:
        """The vector of exactly these versions and this history, if it is kept.

        history None: it cannot be read, and the shopper's last vector is better than none; its
        `stale_seconds` say how old it is.
        """
        ...

    def put(self, key: str, vector: UserVector, history: History) -> None:
        """Keep the vector that was made from `history`, in the place of the shopper's last."""
        ...

    def forget(self, key: str) -> None:
        """Delete what is kept of the shopper."""
        ...

    def newest(self, limit: int) -> Sequence[str]:
        """The shoppers whose vectors were asked for last, at most `limit`, the last one first."""
        ...

    def close(self) -> None:
        """Give back connections; the cache cannot be used afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Erasure:
    """One history key that was erased: of the person, or of a session of theirs.

    subject: `subject_of` the key. erased_at_us: events up to this moment must not come back.
    """

    subject: str
    receipt_id: str
    erased_at_us: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure has deleted. keys: the person's history keys; the rest are counts."""

    receipt_id: str
    erased_at_us: int
    keys: Sequence[str]
    events: int
    history: int
    purchases: int


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything the stores hold of a person.

    sessions: those that have joined the user. events: of the log, newest last, each by the names of
    `Event`'s fields; those that only the lake and the histories have are in `history`.
    """

    sessions: Sequence[str]
    events: Sequence[Mapping[str, Any]]
    history: History
    purchases: Purchases


class People(Protocol):
    """What a shopper may ask for: to be recognised, to be shown what is kept, to be forgotten."""

    def identify(self, session_id: str, user_id: str) -> bool:
        """The session's events, past and to come, are the user's; False if they were already.

        Raises SessionTaken when the session is another user's.
        """
        ...

    def keys_of(self, key: str) -> Sequence[str]:
        """The history keys of a person: this one, and those of the sessions that have joined it."""
        ...

    def export(self, key: str) -> Dossier:
        """What is held of the person with this history key."""
        ...

    def erase(self, key: str) -> Receipt:
        """Delete a person from log, histories, purchases and identities, and remember that.

        Events of theirs that happened before are not taken again. Raises SessionTaken for the key
        of a session that is a user's: then the user is who can be erased.
        """
        ...


class State(EventLog, HistoryStore, People, Protocol):
    """All that a service keeps of its shoppers."""

    def load_histories(
        self,
        keys: Sequence[str],
        item_ids: Sequence[str],
        event_types: Sequence[str],
        timestamps_us: Sequence[int],
    ) -> None:
        """Replace the imported histories by these columns of one length; all or nothing.

        Logged events stay, and one that the import holds too counts once. What was erased, or may
        not personalise, is left out.
        """
        ...

    def shoppers(self, limit: int) -> list[str]:
        """Up to `limit` user ids that have a history, in order; anonymous visitors left out."""
        ...

    def close(self) -> None:
        """Give back connections; the state cannot be used afterwards."""
        ...


def subject_of(log_id: str, key: str) -> str:
    """What an erasure remembers of a history key: a digest that differs from log to log.

    MD5, because both engines of the lake can compute it.
    """
    return hashlib.md5(f"{log_id}:{key}".encode(), usedforsecurity=False).hexdigest()
