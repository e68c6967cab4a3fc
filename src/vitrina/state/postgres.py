"""The shared store: PostgreSQL, for any number of server processes on any number of hosts.

The tables are those of the embedded store (`postgres_statements`), and so is what they mean. One
statement logs a group of events and brings histories and purchases up to date; writers take turns
by an advisory lock, so that offsets grow in the order of acknowledgement.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vitrina.errors import DataError, SessionTaken, StateError, Unconfirmed
from vitrina.schema import Event, History, Purchases
from vitrina.state import postgres_statements as sql
from vitrina.state.base import TAKEN, Dossier, Erasure, LogRows, Receipt, subject_of
from vitrina.state.group_commit import GroupCommit
from vitrina.state.postgres_connections import ERASURE_SECONDS, Connections, RefusedData
from vitrina.state.rows import FIELDS, columns_of, event_fields, log_rows, without_erased

if TYPE_CHECKING:
    from psycopg import Connection

TRIMMED_AT_ONCE: Final = 5_000
_T = TypeVar("_T")
_UNLIMITED: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
)


@dataclass(slots=True)
class Changes:
    """What a group of events has changed in histories.

    seen: by history key, (moment in µs, item, type) of each event; bought: by history key, each
    item's purchases as they are counted now: (item, count, last_us, recent). retold: history keys
    of events that were stored before: the answer of their commit may have got lost, and with it
    what it has changed.
    """

    seen: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    bought: dict[str, list[tuple[str, int, int, float]]] = field(default_factory=dict)
    retold: set[str] = field(default_factory=set)


class PostgresState:
    """`State` in a PostgreSQL database, in its schema `vitrina`, made where there is none.

    address: postgresql://…; on_commit: told what has changed, before the events are acknowledged.
    Starts without the server, too: then everything raises StateError until it is there. Raises
    MissingExtra without psycopg.
    """

    def __init__(self, address: str, on_commit: Callable[[Changes], None] | None = None) -> None:
        self._connections = Connections(address, self._prepare)
        self._on_commit = on_commit
        self._commits = GroupCommit(self._write, _may_be_one_callers_fault)
        self._log_id: str | None = None

    def append(self, events: Sequence[Event]) -> int:
        """Store events durably and in the histories, all or none; returns how many were new."""
        return self._commits.append(events)

    def read(self, after: int, limit: int) -> LogRows:
        """Up to `limit` events with an offset above `after`, in offset order."""
        return log_rows(self._fetch(sql.READ, (after, limit)))

    def log_id(self) -> str:
        """A name that no other log has; offsets count within it."""
        if self._log_id is None:
            self._fetch("SELECT 1")  # `_prepare` has run when this answers
        assert self._log_id is not None
        return self._log_id

    def event_id_at(self, offset: int) -> str | None:
        """The event at an offset; None if the log has none there."""
        found = self._fetch(sql.EVENT_ID, (offset,))
        return str(found[0][0]) if found else None

    def newest_offset(self) -> int:
        """The highest offset that an event has ever had; 0 if there never was one."""
        return int(self._fetch(sql.NEWEST_OFFSET)[0][0])

    def trim(self, before: int, received_before_us: int) -> int:
        """Delete old events that are durable elsewhere; the histories keep them."""
        parameters = (before, received_before_us, TRIMMED_AT_ONCE)
        deleted, last = 0, -1
        while last:
            last = self._connections.use(lambda db: db.execute(sql.TRIM, parameters).rowcount)
            deleted += last
        return deleted

    def erasures(self) -> list[Erasure]:
        """Every erasure so far, oldest first."""
        return [Erasure(*row) for row in self._fetch(sql.ERASURES)]

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key."""
        return _history(self._fetch(sql.RECENT, {"key": key, "limit": limit}))

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought, by item; empty for an unknown key."""
        return _purchases(self._fetch(sql.PURCHASES, {"key": key}))

    def shopper(self, key: str, limit: int) -> tuple[History, Purchases]:
        """`recent` and `purchases` in one trip."""
        return self.stored(key, limit)

    def stored(self, key: str, limit: int) -> tuple[History, Purchases]:
        """`recent` and `purchases` as the database has them at one moment."""

        def fetch(db: Connection[Any]) -> tuple[History, Purchases]:
            with db.pipeline():
                # One statement sees one moment, two of a transaction need it to be said.
                db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                recent = db.execute(sql.RECENT, {"key": key, "limit": limit})
                bought = db.execute(sql.PURCHASES, {"key": key})
                db.execute("COMMIT")
            return _history(recent.fetchall()), _purchases(bought.fetchall())

        return self._connections.use(fetch)

    def owner(self, key: str) -> str:
        """Whose history a key reads: of a session that has joined a user, the user's."""
        return str(self._fetch(f"SELECT {sql.OWNER}", {"key": key})[0][0])

    def keys_since(self, received_us: int) -> list[str]:
        """The history keys of all events that were received after a moment."""
        return [key for (key,) in self._fetch(sql.RECENT_KEYS, (received_us,))]

    def shoppers(self, limit: int) -> list[str]:
        """Up to `limit` user ids that have a history, in order; anonymous visitors left out."""
        found: list[str] = []
        for after, before in (("", sql.SESSION), (sql.AFTER_SESSIONS, "\U0010ffff")):
            while len(found) < limit:
                row = self._fetch(sql.NEXT_KEY, (after, before))
                if not row:
                    break
                after = row[0][0]
                found.append(after)
        return found

    def identify(self, session_id: str, user_id: str) -> bool:
        """Let a session's events, past and to come, be the user's; False if they were already."""
        now_us = time.time_ns() // 1000

        def join(db: Connection[Any]) -> bool:
            db.execute(sql.LOCK)
            if not db.execute(sql.JOIN, (session_id, user_id, now_us)).rowcount:
                ((found,),) = db.execute(sql.JOINED, (session_id,)).fetchall()
                if found != user_id:
                    raise SessionTaken(TAKEN)
                return False
            for table in ("history", "withheld"):
                move = sql.MOVE.format(table=table, which=sql.OF_SESSION_ID)
                db.execute(move, {"session_id": session_id})
            for key in (sql.SESSION + session_id, user_id):
                db.execute("DELETE FROM vitrina.purchases WHERE key = %s", (key,))
                db.execute(sql.COUNT_PURCHASES.format(of=sql.OF_ONE), {"key": key})
            return True

        return self._transaction(join)

    def keys_of(self, key: str) -> list[str]:
        """The person's history keys: this one, and those of the sessions that have joined it."""
        return self._connections.use(lambda db: _keys_of(db, key))

    def export(self, key: str) -> Dossier:
        """Everything held of the person with this history key."""
        owner = self.owner(key)
        of, name = _whose(owner)
        events = self._fetch(
            f'SELECT {sql.EVENT_OF_OWNER} FROM {sql.JOINED_LOG} WHERE {of} ORDER BY "offset"',
            {"name": name},
        )
        return Dossier(
            sessions=[row[0] for row in self._fetch(sql.SESSIONS, (owner,))],
            events=[event_fields(row) for row in events],
            history=_history(self._fetch(sql.RECENT, {"key": owner, "limit": None})),
            purchases=self.purchases(owner),
        )

    def erase(self, key: str) -> Receipt:
        """Delete a person everywhere, and remember that, so that nothing brings them back."""
        log_id, (of, name) = self.log_id(), _whose(key)

        def delete(db: Connection[Any]) -> Receipt:
            db.execute(_UNLIMITED)
            db.execute(sql.LOCK)
            if db.execute(f"SELECT {sql.OWNER}", {"key": key}).fetchall() != [(key,)]:
                raise SessionTaken(TAKEN)
            keys = _keys_of(db, key)
            moments = db.execute(
                f'DELETE FROM vitrina.event_log WHERE "offset" IN '
                f'(SELECT "offset" FROM {sql.JOINED_LOG} WHERE {of}) RETURNING timestamp_us',
                {"name": name},
            ).fetchall()
            deleted = {
                table: db.execute(f"DELETE FROM vitrina.{table} WHERE key = %s", (key,)).rowcount
                for table in ("history", "purchases", "withheld")
            }
            db.execute("DELETE FROM vitrina.identities WHERE user_id = %s", (key,))
            receipt_id = uuid.uuid4().hex
            newest_us = max([time.time_ns() // 1000, *(moment for (moment,) in moments)])
            for each in keys:
                db.execute(
                    "INSERT INTO vitrina.erasures VALUES (%s, %s, %s)",
                    (subject_of(log_id, each), newest_us, receipt_id),
                )
            return Receipt(
                receipt_id, newest_us, keys, len(moments), deleted["history"], deleted["purchases"]
            )

        return self._transaction(delete, ERASURE_SECONDS)

    def load_histories(
        self,
        keys: Sequence[str],
        item_ids: Sequence[str],
        event_types: Sequence[str],
        timestamps_us: Sequence[int],
    ) -> None:
        """Replace the imported histories by these columns of one length; all or nothing."""
        log_id = self.log_id()

        def load(db: Connection[Any]) -> None:
            db.execute(_UNLIMITED)
            db.execute(sql.LOCK)
            erasures = [Erasure(*row) for row in db.execute(sql.ERASURES)]
            columns = zip(keys, timestamps_us, item_ids, event_types, strict=True)
            rows = without_erased(list(columns), log_id, erasures)
            db.execute("CREATE TEMPORARY TABLE imported (LIKE vitrina.history) ON COMMIT DROP")
            with db.cursor().copy("COPY imported FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            db.execute("DELETE FROM vitrina.history")
            db.execute("DELETE FROM vitrina.purchases")
            db.execute("INSERT INTO vitrina.history SELECT * FROM imported ON CONFLICT DO NOTHING")
            db.execute(sql.REPLAY_LOG)
            for table in ("history", "withheld"):
                db.execute(sql.MOVE.format(table=table, which=sql.ALL))
            db.execute(sql.LEAVE_OUT_WITHHELD)
            db.execute(sql.COUNT_PURCHASES.format(of=""))

        self._transaction(load, math.inf)

    def close(self) -> None:
        """Close the connections; the store cannot be used afterwards."""
        self._connections.close()

    def _write(self, groups: Sequence[Sequence[Event]]) -> list[int]:
        """Several callers' events in one transaction; returns how many of each were new."""
        log_id = self.log_id()
        events = [event for events in groups for event in events]
        rows = zip(*map(columns_of, events), strict=True)
        columns: dict[str, Any] = {name: list(row) for name, row in zip(FIELDS, rows, strict=True)}
        columns["subject"] = [subject_of(log_id, event.history_key) for event in events]
        columns["received_us"] = time.time_ns() // 1000

        def write(db: Connection[Any]) -> list[Any]:
            with db.pipeline(), db.transaction():
                db.execute(sql.LOCK)
                rows = db.execute(sql.APPEND, columns)
            return rows.fetchall()

        changes, new = Changes(), set()
        for event_id, key, item_id, event_type, moment, count, recent in self._connections.use(
            write
        ):
            if event_id is None:
                changes.bought.setdefault(key, []).append((item_id, count, moment, recent))
                continue
            new.add(event_id)
            if event_type is not None:
                changes.seen.setdefault(key, []).append((moment, item_id, event_type))
        if self._on_commit is not None:
            changes.retold = self._owners(
                {event.history_key for event in events if event.event_id not in new}
            )
            self._on_commit(changes)
        counts = []
        for events_of_one in groups:
            before = len(new)
            new -= {event.event_id for event in events_of_one}
            counts.append(before - len(new))
        return counts

    def _owners(self, keys: set[str]) -> set[str]:
        """These history keys, and those of the users whose sessions are among them."""
        try:
            return keys | {self.owner(key) for key in keys if key.startswith(sql.SESSION)}
        except StateError as error:
            raise Unconfirmed(str(error)) from error

    def _fetch(self, statement: str, parameters: Any = ()) -> list[Any]:
        return self._connections.use(lambda db: db.execute(statement, parameters).fetchall())

    def _transaction(
        self, work: Callable[[Connection[Any]], _T], seconds: float | None = None
    ) -> _T:
        def whole(db: Connection[Any]) -> _T:
            with db.transaction():
                return work(db)

        return self._connections.use(whole, seconds)

    def _prepare(self, db: Connection[Any]) -> None:
        """Make the tables, or check that those there are of this version; learn the log's name."""
        with db.transaction():
            db.execute(sql.LOCK)
            ((there,),) = db.execute("SELECT to_regclass('vitrina.about')").fetchall()
            if there is None:
                db.execute(sql.TABLES)
            ((log_id, found),) = db.execute("SELECT log_id, format FROM vitrina.about").fetchall()
        if found != sql.FORMAT:
            raise DataError(
                f"{self._connections.name} has state format {found}, this version of Vitrina "
                f"reads {sql.FORMAT}. Use the version that wrote it, or another database."
            )
        self._log_id = log_id


def _history(rows: Sequence[Any]) -> History:
    """A history from rows, newest first."""
    return History(*zip(*reversed(rows), strict=True)) if rows else History()


def _purchases(rows: Sequence[Any]) -> Purchases:
    return Purchases(*zip(*rows, strict=True)) if rows else Purchases()


def _keys_of(db: Connection[Any], key: str) -> list[str]:
    return [key, *(sql.SESSION + row[0] for row in db.execute(sql.SESSIONS, (key,)))]


def _whose(key: str) -> tuple[str, str]:
    """A condition for the log's rows of a history key, and its parameter."""
    if key.startswith(sql.SESSION):
        return sql.OF_SESSION, key.removeprefix(sql.SESSION)
    return sql.OF_USER, key


def _may_be_one_callers_fault(error: BaseException) -> bool:
    """Whether others' events may be stored although these were not."""
    return isinstance(error, RefusedData)
