"""A shop's changes to its catalog in PostgreSQL, for servers on several hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vitrina.state.catalog_changes import ItemChange, change_of, laid_over
from vitrina.state.postgres_connections import Connections
from vitrina.state.postgres_statements import LOCK as SCHEMA_LOCK

if TYPE_CHECKING:
    from psycopg import Connection

# Held to the end of a transaction, so that numbers grow in the order in which changes are seen.
_LOCK: Final = f"SELECT pg_advisory_xact_lock({0x56697463})"
_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS vitrina;
CREATE TABLE IF NOT EXISTS vitrina.catalog_changes (
    item_id text COLLATE "C" PRIMARY KEY,
    sequence bigint NOT NULL UNIQUE,
    changed_us bigint NOT NULL,
    fields text
)"""
_LAST: Final = "SELECT coalesce(max(sequence), 0) FROM vitrina.catalog_changes"
_FIELDS: Final = "SELECT item_id, fields FROM vitrina.catalog_changes WHERE item_id = ANY (%s)"
_CHANGE: Final = """
INSERT INTO vitrina.catalog_changes (item_id, sequence, changed_us, fields) VALUES (%s, %s, %s, %s)
ON CONFLICT (item_id) DO UPDATE SET
    sequence = excluded.sequence, changed_us = excluded.changed_us, fields = excluded.fields"""
_AFTER: Final = """
SELECT item_id, sequence, changed_us, fields FROM vitrina.catalog_changes
WHERE sequence > %s ORDER BY sequence"""


class PostgresCatalogChanges:
    """`CatalogChanges` in a PostgreSQL database, in its schema `vitrina`, made where there is none.

    address: postgresql://…. Starts without the server, too: then everything raises StateError until
    it is there. Raises MissingExtra without psycopg.
    """

    def __init__(self, address: str) -> None:
        self._connections = Connections(address, _prepare)

    def put(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Set fields of items, each a mapping with its `item_id`; all of them or none."""

        def work(db: Connection[Any]) -> None:
            now_us = time.time_ns() // 1000
            known = db.execute(_FIELDS, ([item["item_id"] for item in items],))
            fields: dict[str, str | None] = dict(known.fetchall())
            for item in items:
                item_id = item["item_id"]
                fields[item_id] = laid_over(fields.get(item_id), item, now_us)
            _write(db, now_us, {item["item_id"]: fields[item["item_id"]] for item in items})

        self._transaction(work)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Delete items, known or not; all of them or none."""
        now_us = time.time_ns() // 1000
        self._transaction(lambda db: _write(db, now_us, dict.fromkeys(item_ids)))

    def after(self, sequence: int) -> list[ItemChange]:
        """Changes numbered above `sequence`, in order; 0: all."""
        rows = self._connections.use(lambda db: db.execute(_AFTER, (sequence,)).fetchall())
        return [change_of(row) for row in rows]

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _transaction(self, work: Callable[[Connection[Any]], None]) -> None:
        def whole(db: Connection[Any]) -> None:
            with db.transaction():
                db.execute(_LOCK)
                work(db)

        self._connections.use(whole)


def _write(db: Connection[Any], now_us: int, fields: Mapping[str, str | None]) -> None:
    ((last,),) = db.execute(_LAST).fetchall()
    rows = [
        (item_id, sequence, now_us, text)
        for sequence, (item_id, text) in enumerate(fields.items(), start=last + 1)
    ]
    with db.cursor() as cursor:
        cursor.executemany(_CHANGE, rows)


def _prepare(db: Connection[Any]) -> None:
    with db.transaction():
        db.execute(SCHEMA_LOCK)
        db.execute(_TABLE)
