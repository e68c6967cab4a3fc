"""The embedded event log and history store: one SQLite file, in write-ahead mode.

Three tables. `event_log` is the record: appended to, one row an event, idempotent by event_id,
and trimmed of what the lake has; `log_identity` names it.
`history` and `purchases` are what the request path reads, clustered by shopper: a history is the
set of (shopper, moment, item, type) found in the log or in the last import from the lake, so that
an event both hold counts once; `purchases` counts the purchase rows of `history`. All three change
in one transaction.

Durability: `synchronous=FULL` makes the log reach the disk before `append` returns, so an
acknowledged event survives kill -9 and a power cut. Several processes may open one file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from vitrina.errors import DataError
from vitrina.schema import (
    REPURCHASE_EVENT,
    Event,
    History,
    Purchases,
    anonymous_key,
)
from vitrina.state.base import LogRows, forgetting

APPLICATION_ID = 0x56697472  # "Vitr", in the file's header: this database is ours
FORMAT = 2
BUSY_SECONDS = 30.0
"""How long one process waits for another's write; a bulk import takes seconds."""

_SESSION = anonymous_key("")
_YEAR_2020_US = 1_577_836_800_000_000

_TABLES = """
CREATE TABLE event_log (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    item_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    timestamp_us INTEGER NOT NULL,
    user_id TEXT,
    session_id TEXT,
    device_type TEXT,
    value REAL,
    request_id TEXT,
    position INTEGER,
    received_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE history (
    key TEXT NOT NULL,
    timestamp_us INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    PRIMARY KEY (key, timestamp_us, item_id, event_type)
) STRICT, WITHOUT ROWID;
CREATE TABLE purchases (
    key TEXT NOT NULL,
    item_id TEXT NOT NULL,
    count INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    recent REAL NOT NULL,
    PRIMARY KEY (key, item_id)
) STRICT, WITHOUT ROWID;
"""

# New in format 2.
_NAME_THE_LOG = (
    "CREATE TABLE log_identity (id TEXT NOT NULL) STRICT",
    "INSERT INTO log_identity (id) VALUES (lower(hex(randomblob(8))))",
)

_FIELDS = tuple(field.name for field in fields(Event))
_EVENT_COLUMNS = ", ".join(_FIELDS)
_APPEND = f"""
INSERT INTO event_log ({_EVENT_COLUMNS}, received_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING"""
_REMEMBER = """
INSERT INTO history (key, timestamp_us, item_id, event_type) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
_COUNT_PURCHASE = """
INSERT INTO purchases (key, item_id, count, last_us, recent) VALUES (?, ?, 1, ?, 1.0)
ON CONFLICT (key, item_id) DO UPDATE SET
    count = count + 1,
    last_us = max(last_us, excluded.last_us),
    recent = CASE WHEN excluded.last_us > last_us
        THEN recent * forgetting(excluded.last_us - last_us) + 1.0
        ELSE recent + forgetting(last_us - excluded.last_us) END"""
_READ = f"SELECT offset, {_EVENT_COLUMNS} FROM event_log WHERE offset > ? ORDER BY offset LIMIT ?"
_TRIM = """
DELETE FROM event_log WHERE offset IN (
    SELECT offset FROM event_log WHERE offset < ? AND received_at_us < ? LIMIT ?)"""
_TRIMMED_AT_ONCE = 5_000
_RECENT = """
SELECT item_id, event_type, timestamp_us FROM history WHERE key = ?
ORDER BY timestamp_us DESC, item_id DESC, event_type DESC LIMIT ?"""
_PURCHASES = "SELECT item_id, count, last_us, recent FROM purchases WHERE key = ?"
_NEXT_KEY = "SELECT min(key) FROM history WHERE key > ?"
_REPLAY_LOG = """
INSERT INTO history (key, timestamp_us, item_id, event_type)
SELECT coalesce(user_id, ? || session_id), timestamp_us, item_id, event_type FROM event_log
WHERE true ON CONFLICT DO NOTHING"""
_COUNT_ALL_PURCHASES = """
INSERT INTO purchases (key, item_id, count, last_us, recent)
SELECT key, item_id, count(*), max(timestamp_us),
    -- By way of a moment between, which cancels out: one pass, the newest not yet known.
    forgetting(max(timestamp_us) - :between) * sum(forgetting(:between - timestamp_us))
FROM history WHERE event_type = :purchase GROUP BY key, item_id"""


class SqliteState:
    """`EventLog` and `HistoryStore` in one SQLite file, safe to use from many threads.

    path: the file, made where there is none; None keeps a private store in memory (evaluation,
    notebooks). Raises DataError for a file that is not a Vitrina state database.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._write_lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = self._connect()
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path} cannot be used as the event log: {error}. Move the file aside (or set "
                f"another [paths] state) and the next start makes a new one."
            ) from error

    def append(self, events: Sequence[Event]) -> int:
        """Store events durably and in the histories, all or none; returns how many were new.

        An event_id already in the log is skipped, whatever else the event says.
        """
        received_us = time.time_ns() // 1000
        new = 0
        with self._transaction() as db:
            for event in events:
                if not db.execute(_APPEND, (*_columns_of(event), received_us)).rowcount:
                    continue
                new += 1
                key, moment = event.history_key, event.timestamp_us
                row = (key, moment, event.item_id, event.event_type)
                is_new = db.execute(_REMEMBER, row).rowcount
                if is_new and event.event_type == REPURCHASE_EVENT:
                    db.execute(_COUNT_PURCHASE, (key, event.item_id, moment))
        return new

    def read(self, after: int, limit: int) -> LogRows:
        """Up to `limit` events with an offset above `after`, in offset order."""
        with self._reading() as db:
            rows = db.execute(_READ, (after, limit)).fetchall()
        offsets, *columns = zip(*rows, strict=True) if rows else [()] * (1 + len(_FIELDS))
        return LogRows(offsets, dict(zip(_FIELDS, columns, strict=True)))

    def log_id(self) -> str:
        """A name that no other log has; offsets count within it."""
        with self._reading() as db:
            (name,) = db.execute("SELECT id FROM log_identity").fetchone()
        return str(name)

    def event_id_at(self, offset: int) -> str | None:
        """The event at an offset; None if the log has none there."""
        with self._reading() as db:
            row = db.execute("SELECT event_id FROM event_log WHERE offset = ?", (offset,))
            found: tuple[str] | None = row.fetchone()
        return None if found is None else found[0]

    def trim(self, before: int, received_before_us: int) -> int:
        """Delete old events that are durable elsewhere; the histories keep them."""
        deleted, last = 0, -1
        while last:
            # In steps, so that a server's events wait for milliseconds and not for all of it.
            with self._transaction() as db:
                last = db.execute(_TRIM, (before, received_before_us, _TRIMMED_AT_ONCE)).rowcount
            deleted += last
        return deleted

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key.

        Events of one moment are ordered by item and type, so that the order of arrival, which
        differs between a log and its copies, changes nothing.
        """
        with self._reading() as db:
            rows = db.execute(_RECENT, (key, limit)).fetchall()
        if not rows:
            return History()
        rows.reverse()
        return History(*zip(*rows, strict=True))

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought, by item; empty for an unknown key."""
        with self._reading() as db:
            rows = db.execute(_PURCHASES, (key,)).fetchall()
        return Purchases(*zip(*rows, strict=True)) if rows else Purchases()

    def shoppers(self, limit: int) -> list[str]:
        """Up to `limit` user ids that have a history, in order; anonymous visitors left out.

        One index seek a shopper, however long the histories and however many the visitors.
        """
        found: list[str] = []
        with self._reading() as db:
            key = ""
            while len(found) < limit:
                (key,) = db.execute(_NEXT_KEY, (key,)).fetchone()
                if key is None:
                    break
                if key.startswith(_SESSION):
                    key = _SESSION + "\U0010ffff"  # past the last of them
                else:
                    found.append(key)
        return found

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
        with self._transaction() as db:
            db.execute("DELETE FROM history")
            db.execute("DELETE FROM purchases")
            db.executemany(_REMEMBER, rows)
            db.execute(_REPLAY_LOG, (_SESSION,))
            db.execute(
                _COUNT_ALL_PURCHASES, {"purchase": REPURCHASE_EVENT, "between": _YEAR_2020_US}
            )
        with self._write_lock:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection; the store cannot be used afterwards."""
        with self._write_lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

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

    def _prepare(self) -> None:
        """Make the tables in an empty database, or check that the ones there are ours."""
        with self._transaction() as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (found,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if application == 0 and tables == 0:
                for statement in (*_TABLES.split(";\n"), *_NAME_THE_LOG):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {FORMAT}")
            elif application != APPLICATION_ID:
                raise DataError(
                    f"{self._path} is a database of another program ({tables} tables that are "
                    f"not Vitrina's). Point [paths] state to a file of its own."
                )
            elif found == 1:
                for statement in _NAME_THE_LOG:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT}")
            elif found != FORMAT:
                raise DataError(
                    f"{self._path} has state format {found}, this version of Vitrina reads "
                    f"{FORMAT}. Use the version that wrote it, or point [paths] state elsewhere."
                )
        self._writer.execute("PRAGMA journal_mode = WAL")

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
            with self._write_lock:
                yield self._writer
            return
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            with self._write_lock:
                if self._closed:
                    raise sqlite3.ProgrammingError("The store has been closed.")
                db = self._local.db = self._connect()
                self._readers.append(db)
        yield db


def _columns_of(event: Event) -> tuple[object, ...]:
    """The event in the order of _EVENT_COLUMNS, which is that of the dataclass's fields."""
    return (
        event.event_id,
        event.item_id,
        event.event_type,
        event.timestamp_us,
        event.user_id,
        event.session_id,
        event.device_type,
        event.value,
        event.request_id,
        event.position,
    )
