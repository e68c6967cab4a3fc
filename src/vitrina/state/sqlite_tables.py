"""The tables of the embedded store, and how those of earlier formats become these."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from vitrina.errors import DataError
from vitrina.schema import PURPOSES

APPLICATION_ID: Final = 0x56697472  # "Vitr", in the file's header: this database is ours
FORMAT: Final = 3

_FORMAT_1: Final = """
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

# The log has a name.
_FORMAT_2: Final = """
CREATE TABLE log_identity (id TEXT NOT NULL) STRICT;
INSERT INTO log_identity (id) VALUES (lower(hex(randomblob(8))));
"""

# Purposes, sessions that join users, and erasures. `withheld` has the events that must not be in
# a history, in the form of its rows: an import from the lake may bring them again.
_FORMAT_3: Final = f"""
ALTER TABLE event_log ADD COLUMN purposes TEXT NOT NULL DEFAULT '{",".join(PURPOSES)}';
CREATE TABLE withheld (
    key TEXT NOT NULL,
    timestamp_us INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    PRIMARY KEY (key, timestamp_us, item_id, event_type)
) STRICT, WITHOUT ROWID;
CREATE TABLE identities (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    joined_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_of_user ON identities (user_id);
CREATE TABLE erasures (
    subject TEXT NOT NULL,
    erased_at_us INTEGER NOT NULL,
    receipt_id TEXT NOT NULL,
    PRIMARY KEY (subject, erased_at_us)
) STRICT, WITHOUT ROWID;
"""

STEPS: Final = (_FORMAT_1, _FORMAT_2, _FORMAT_3)
"""What makes each format out of the one before."""


def prepare_tables(db: sqlite3.Connection, path: Path | None) -> None:
    """Make the tables in an empty database, or check that the ones there are ours.

    Inside of a transaction. Raises DataError for a database that cannot be used.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == 0 and tables == 0:
        found = 0
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    elif application != APPLICATION_ID:
        raise DataError(
            f"{path} is a database of another program ({tables} tables that are "
            f"not Vitrina's). Point [paths] state to a file of its own."
        )
    elif not 1 <= found <= FORMAT:
        raise DataError(
            f"{path} has state format {found}, this version of Vitrina reads "
            f"{FORMAT}. Use the version that wrote it, or point [paths] state elsewhere."
        )
    for step in STEPS[found:]:
        for statement in step.split(";\n"):
            db.execute(statement)
    if found < FORMAT:
        db.execute(f"PRAGMA user_version = {FORMAT}")
