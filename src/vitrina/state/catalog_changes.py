"""What a shop has changed in its catalog since the bundles were made.

One row an item: the fields that were set since, each with its value and moment, or that the item
was deleted. Rows are numbered by the order of their last change, so whoever reads on after the last
number that they have seen misses nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from vitrina.errors import DataError, StateError

APPLICATION_ID: Final = 0x56697463  # "Vitc", in the file's header: this database is ours
FORMAT: Final = 1
BUSY_SECONDS: Final = 10.0

_TABLE = """
CREATE TABLE catalog_changes (
    item_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL UNIQUE,
    changed_us INTEGER NOT NULL,
    fields TEXT
) STRICT"""
_LAST = "SELECT coalesce(max(sequence), 0) FROM catalog_changes"
_FIELDS = "SELECT fields FROM catalog_changes WHERE item_id = ?"
_CHANGE = """
INSERT INTO catalog_changes (item_id, sequence, changed_us, fields) VALUES (?, ?, ?, ?)
ON CONFLICT (item_id) DO UPDATE SET
    sequence = excluded.sequence, changed_us = excluded.changed_us, fields = excluded.fields"""
_AFTER = """
SELECT item_id, sequence, changed_us, fields FROM catalog_changes
WHERE sequence > ? ORDER BY sequence"""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """All that was changed of one item. fields: by the names of `schema.Item`, each with its value
    (None: taken away) and when it was set; None: the item is deleted. changed_us: the last time.
    """

    item_id: str
    sequence: int
    changed_us: int
    fields: Mapping[str, tuple[Any, int]] | None

    @property
    def deleted(self) -> bool:
        return self.fields is None

    def since(self, moment_us: int) -> dict[str, Any]:
        """The fields set at that moment or later, and their values."""
        fields = self.fields or {}
        return {name: value for name, (value, set_us) in fields.items() if set_us >= moment_us}


class CatalogChanges(Protocol):
    """The changes of one shop, safe to use from many threads and processes.

    A change survives a crash once `put` or `delete` has returned. Everything raises StateError
    when the store takes or gives nothing.
    """

    def put(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Set fields of items, each a mapping with its `item_id`; all of them or none.

        Fields left out keep what earlier changes, or the bundle, say of them.
        """
        ...

    def delete(self, item_ids: Sequence[str]) -> None:
        """Delete items, known or not; all of them or none."""
        ...

    def after(self, sequence: int) -> list[ItemChange]:
        """Changes numbered above `sequence`, in order; 0: all."""
        ...

    def close(self) -> None:
        """Give back what is open; they cannot be used afterwards."""
        ...


def laid_over(before: str | None, item: Mapping[str, Any], now_us: int) -> str:
    """The stored fields of an item (JSON; None: none, or it was deleted) with new ones on top."""
    fields = {name: (item[name], now_us) for name in item if name != "item_id"}
    return orjson.dumps((orjson.loads(before) if before else {}) | fields).decode()


def change_of(row: Sequence[Any]) -> ItemChange:
    """A change from its row: item_id, sequence, changed_us and the stored fields."""
    item_id, sequence, changed_us, text = row
    return ItemChange(item_id, sequence, changed_us, None if text is None else orjson.loads(text))


class SqliteCatalogChanges:
    """`CatalogChanges` in one SQLite file, which several processes may open.

    path: the file, made with the first change; None keeps them in memory.
    Raises DataError for a file that is no such database.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        if path is None or path.exists():
            self._open()

    def put(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Set fields of items, each a mapping with its `item_id`; all of them or none."""
        with self._transaction() as db:
            now_us = time.time_ns() // 1000
            for item in items:
                item_id = item["item_id"]
                found = db.execute(_FIELDS, (item_id,)).fetchone()
                fields = laid_over(found[0] if found else None, item, now_us)
                self._write(db, item_id, now_us, fields)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Delete items, known or not; all of them or none."""
        with self._transaction() as db:
            for item_id in item_ids:
                self._write(db, item_id, time.time_ns() // 1000, None)

    def after(self, sequence: int) -> list[ItemChange]:
        """Changes numbered above `sequence`, in order; 0: all."""
        with self._lock:
            if self._db is None:
                if self._path is None or not self._path.exists():
                    return []
                self._open()
            assert self._db is not None
            try:
                return [change_of(row) for row in self._db.execute(_AFTER, (sequence,))]
            except sqlite3.Error as error:
                raise StateError(f"{self._path}: {error}.") from error

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _write(self, db: sqlite3.Connection, item_id: str, now_us: int, fields: str | None) -> None:
        (last,) = db.execute(_LAST).fetchone()
        db.execute(_CHANGE, (item_id, last + 1, now_us, fields))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._db is None:
                self._open()
            assert self._db is not None
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StateError(f"{self._path}: {error}.") from error
                raise

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            ":memory:" if self._path is None else self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions are begun and ended here, by name
            check_same_thread=False,  # guarded by the lock
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (found,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if application == 0 and tables == 0:
                db.execute(_TABLE)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {FORMAT}")
            elif (application, found) != (APPLICATION_ID, FORMAT):
                db.close()
                raise DataError(
                    f"{self._path} is no record of catalog changes in format {FORMAT}. Point "
                    f"[paths] catalog to a file of its own."
                )
            db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            db.close()
            raise DataError(
                f"{self._path} cannot be used as the record of catalog changes: {error}. Move it "
                f"aside (or set another [paths] catalog) and the next change makes a new one."
            ) from error
        self._db = db
