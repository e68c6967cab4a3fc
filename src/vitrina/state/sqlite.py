"""The embedded store: one SQLite file, in write-ahead mode (`sqlite_tables` has its tables).

`event_log` is the record: appended to, one row an event, idempotent by event_id, and trimmed of
what the lake has; `log_identity` names it.
`history` and `purchases` are what the request path reads, clustered by shopper: a history is the
set of (shopper, moment, item, type) found in the log or in the last import from the lake, so that
an event both hold counts once; `purchases` counts the purchase rows of `history`. All three change
in one transaction.

Durability: `synchronous=FULL` makes the log reach the disk before `append` returns, so an
acknowledged event survives kill -9 and a power cut. Appends that arrive meanwhile share the next
transaction (`group_commit`). Several processes may open one file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from vitrina.errors import DataError, SessionTaken, StateError
from vitrina.schema import (
    IMPRESSION,
    PERSONALISATION,
    REPURCHASE_EVENT,
    Event,
    History,
    Purchases,
)
from vitrina.state import sqlite_statements as sql
from vitrina.state.base import (
    TAKEN,
    Dossier,
    Erasure,
    LogRows,
    Receipt,
    after_erasure,
    forgetting,
    subject_of,
)
from vitrina.state.group_commit import GroupCommit
from vitrina.state.rows import columns_of, event_fields, log_rows, without_erased
from vitrina.state.sqlite_people import erased_at, join_histories, keys_of, owner_of, whose
from vitrina.state.sqlite_tables import prepare_tables

BUSY_SECONDS = 30.0
"""How long one process waits for another's write; a bulk import takes seconds."""


class SqliteState:
    """`State` in one SQLite file, safe to use from many threads.

    path: the file, made where there is none; None keeps a private store in memory (evaluation,
    notebooks). Raises DataError for a file that is not a Vitrina state database.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._write_lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._commits = GroupCommit(self._write, _may_be_one_callers_fault)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            with self._transaction() as db:
                prepare_tables(db, path)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._log_id = str(self._writer.execute("SELECT id FROM log_identity").fetchone()[0])
        except (OSError, sqlite3.DatabaseError) as error:
            raise DataError(
                f"{path} cannot be used as the event log: {error}. Move the file aside (or set "
                f"another [paths] state) and the next start makes a new one."
            ) from error

    def append(self, events: Sequence[Event]) -> int:
        """Store events durably and in the histories, all or none; returns how many were new.

        An event_id already in the log is skipped, whatever else the event says, and so is what
        happened to a person before they were erased. Raises StateError if none was stored.
        """
        with self._telling("took none of these events"):
            return self._commits.append(events)

    def read(self, after: int, limit: int) -> LogRows:
        """Up to `limit` events with an offset above `after`, in offset order."""
        with self._reading() as db:
            return log_rows(db.execute(sql.READ, (after, limit)).fetchall())

    def log_id(self) -> str:
        """A name that no other log has; offsets count within it."""
        return self._log_id

    def event_id_at(self, offset: int) -> str | None:
        """The event at an offset; None if the log has none there."""
        with self._reading() as db:
            row = db.execute("SELECT event_id FROM event_log WHERE offset = ?", (offset,))
            found: tuple[str] | None = row.fetchone()
        return None if found is None else found[0]

    def newest_offset(self) -> int:
        """The highest offset that an event has ever had; 0 if there never was one."""
        with self._reading() as db:
            found = db.execute(sql.NEWEST_OFFSET).fetchone()
        return 0 if found is None else int(found[0])

    def trim(self, before: int, received_before_us: int) -> int:
        """Delete old events that are durable elsewhere; the histories keep them."""
        deleted, last = 0, -1
        while last:
            # In steps, so that a server's events wait for milliseconds and not for all of it.
            with self._transaction() as db:
                last = db.execute(
                    sql.TRIM, (before, received_before_us, sql.TRIMMED_AT_ONCE)
                ).rowcount
            deleted += last
        return deleted

    def erasures(self) -> list[Erasure]:
        """Every erasure so far, oldest first."""
        with self._reading() as db:
            rows = db.execute(sql.ERASURES).fetchall()
        return [Erasure(*row) for row in rows]

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key.

        Events of one moment are ordered by item and type, so that the order of arrival, which
        differs between a log and its copies, changes nothing.
        """
        with self._reading() as db:
            return _recent(db, owner_of(db, key), limit)

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought, by item; empty for an unknown key."""
        with self._reading() as db:
            return _purchases(db, owner_of(db, key))

    def shopper(self, key: str, limit: int) -> tuple[History, Purchases]:
        """`recent` and `purchases` at once."""
        with self._reading() as db:
            owner = owner_of(db, key)
            return _recent(db, owner, limit), _purchases(db, owner)

    def shoppers(self, limit: int) -> list[str]:
        """Up to `limit` user ids that have a history, in order; anonymous visitors left out.

        One index seek a shopper, however long the histories and however many the visitors.
        """
        found: list[str] = []
        with self._reading() as db:
            key = ""
            while len(found) < limit:
                (key,) = db.execute(sql.NEXT_KEY, (key,)).fetchone()
                if key is None:
                    break
                if key.startswith(sql.SESSION):
                    key = sql.SESSION + "\U0010ffff"  # past the last of them
                else:
                    found.append(key)
        return found

    def identify(self, session_id: str, user_id: str) -> bool:
        """Let a session's events, past and to come, be the user's; False if they were already."""
        now_us = time.time_ns() // 1000
        with self._telling("did not take who that is"), self._transaction() as db:
            found = db.execute(sql.JOINED, (session_id,)).fetchone()
            if found is not None:
                if found[0] != user_id:
                    raise SessionTaken(TAKEN)
                return False
            db.execute("INSERT INTO identities VALUES (?, ?, ?)", (session_id, user_id, now_us))
            join_histories(db, sql.OF_SESSION_ID, session_id)
            for key in (sql.SESSION + session_id, user_id):
                db.execute("DELETE FROM purchases WHERE key = ?", (key,))
                db.execute(sql.COUNT_PURCHASES.format(of=sql.OF_ONE), {**sql.COUNTED, "key": key})
        return True

    def keys_of(self, key: str) -> list[str]:
        """The person's history keys: this one, and those of the sessions that have joined it."""
        with self._reading() as db:
            return keys_of(db, key)

    def export(self, key: str) -> Dossier:
        """Everything held of the person with this history key."""
        with self._reading() as db:
            owner = owner_of(db, key)
            of, name = whose(owner)
            events = db.execute(
                f"SELECT {sql.EVENT_OF_OWNER} FROM {sql.JOINED_LOG} WHERE {of} ORDER BY offset",
                {"key": name},
            )
            return Dossier(
                sessions=[row[0] for row in db.execute(sql.SESSIONS, (owner,))],
                events=[event_fields(row) for row in events],
                history=_recent(db, owner, -1),
                purchases=_purchases(db, owner),
            )

    def erase(self, key: str) -> Receipt:
        """Delete a person everywhere, and remember that, so that nothing brings them back."""
        with self._telling("has deleted nothing"), self._transaction() as db:
            if owner_of(db, key) != key:
                raise SessionTaken(TAKEN)
            of, name = whose(key)
            keys = keys_of(db, key)
            offsets, newest_us = [], time.time_ns() // 1000
            for offset, moment in db.execute(
                f"SELECT offset, timestamp_us FROM {sql.JOINED_LOG} WHERE {of}", {"key": name}
            ):
                offsets.append((offset,))
                newest_us = max(newest_us, moment)
            db.executemany("DELETE FROM event_log WHERE offset = ?", offsets)
            deleted = {
                table: db.execute(f"DELETE FROM {table} WHERE key = ?", (key,)).rowcount
                for table in ("history", "purchases", "withheld")
            }
            db.execute("DELETE FROM identities WHERE user_id = ?", (key,))
            receipt_id = uuid.uuid4().hex
            db.executemany(
                "INSERT INTO erasures (subject, erased_at_us, receipt_id) VALUES (?, ?, ?)",
                [(subject_of(self._log_id, each), newest_us, receipt_id) for each in keys],
            )
        return Receipt(
            receipt_id, newest_us, keys, len(offsets), deleted["history"], deleted["purchases"]
        )

    def load_histories(
        self,
        keys: Sequence[str],
        item_ids: Sequence[str],
        event_types: Sequence[str],
        timestamps_us: Sequence[int],
    ) -> None:
        """Replace the imported histories by these columns of one length; all or nothing.

        Logged events stay, and one that the import holds too counts once. Readers see the old
        histories until the import is complete.
        """
        rows = sorted(zip(keys, timestamps_us, item_ids, event_types, strict=True))
        with self._telling("took none of these histories"):
            with self._transaction() as db:
                erasures = [Erasure(*row) for row in db.execute(sql.ERASURES)]
                db.execute("DELETE FROM history")
                db.execute("DELETE FROM purchases")
                db.executemany(sql.REMEMBER, without_erased(rows, self._log_id, erasures))
                db.execute(sql.REPLAY_LOG)
                join_histories(db, sql.ALL)
                db.execute(sql.LEAVE_OUT_WITHHELD)
                db.execute(sql.COUNT_PURCHASES.format(of=""), sql.COUNTED)
            with self._write_lock:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection; the store cannot be used afterwards."""
        with self._write_lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    def _write(self, groups: Sequence[Sequence[Event]]) -> list[int]:
        """Several callers' events in one transaction; returns how many of each were new."""
        with self._transaction() as db:
            received_us = time.time_ns() // 1000  # after any erasure that was waited for
            (erased,) = db.execute(sql.ANY_ERASED).fetchone()
            return [
                sum(self._write_one(db, event, received_us, bool(erased)) for event in events)
                for events in groups
            ]

    def _write_one(
        self, db: sqlite3.Connection, event: Event, received_us: int, erased: bool
    ) -> bool:
        """Whether the event was new. erased: whether anybody ever was."""
        key = event.history_key
        erased_at_us = erased_at(db, subject_of(self._log_id, key)) if erased else None
        if erased_at_us is not None:
            placed = after_erasure(event.timestamp_us, erased_at_us, received_us)
            if placed is None:
                return False
            event = replace(event, timestamp_us=placed)
        if not db.execute(sql.APPEND, (*columns_of(event), received_us)).rowcount:
            return False
        if event.event_type == IMPRESSION:
            return True
        key, moment = owner_of(db, key), event.timestamp_us
        row = (key, moment, event.item_id, event.event_type)
        if PERSONALISATION not in event.purposes:
            db.execute(sql.WITHHOLD, row)
        elif db.execute(sql.REMEMBER, row).rowcount and event.event_type == REPURCHASE_EVENT:
            db.execute(sql.COUNT_PURCHASE, (key, event.item_id, moment))
        return True

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            ":memory:" if self._path is None else self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions are begun and ended here, by name
            check_same_thread=False,  # the writer is guarded by its lock
        )
        db.create_function("forgetting", 1, forgetting, deterministic=True)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -65536")  # 64 MiB
        db.execute("PRAGMA mmap_size = 1073741824")
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The writer inside one transaction, committed at the end or rolled back on an error."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's read connection; a store in memory has one connection for everything."""
        if self._path is None:
            with self._telling("cannot be read"), self._write_lock:
                yield self._writer
            return
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            with self._write_lock:
                if self._closed:
                    raise StateError(f"{self._path} has been closed.")
                db = self._local.db = self._connect()
                self._readers.append(db)
        with self._telling("cannot be read"):
            yield db

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Make a StateError of what SQLite raises."""
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:
            store = self._path or "The store in memory"
            raise StateError(f"{store} {what}: {error}.") from error


_FAULTY_EVENT: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
)


def _recent(db: sqlite3.Connection, owner: str, limit: int) -> History:
    rows = db.execute(sql.RECENT, (owner, limit)).fetchall()
    if not rows:
        return History()
    rows.reverse()
    return History(*zip(*rows, strict=True))


def _purchases(db: sqlite3.Connection, owner: str) -> Purchases:
    rows = db.execute(sql.PURCHASES, (owner,)).fetchall()
    return Purchases(*zip(*rows, strict=True)) if rows else Purchases()


def _may_be_one_callers_fault(error: BaseException) -> bool:
    """Whether others' events may be stored although these were not."""
    return isinstance(error, _FAULTY_EVENT)
