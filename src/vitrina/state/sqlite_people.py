"""Who is who in the embedded store: sessions that have joined users, and people who were erased."""

from __future__ import annotations

import sqlite3

from vitrina.state import sqlite_statements as sql


def owner_of(db: sqlite3.Connection, key: str) -> str:
    """Whose history a key reads: of a session that has joined a user, the user's."""
    if not key.startswith(sql.SESSION):
        return key
    found = db.execute(sql.JOINED, (key.removeprefix(sql.SESSION),)).fetchone()
    return key if found is None else str(found[0])


def keys_of(db: sqlite3.Connection, key: str) -> list[str]:
    """This history key, and those of the sessions that have joined it."""
    return [key, *(sql.SESSION + row[0] for row in db.execute(sql.SESSIONS, (key,)))]


def whose(key: str) -> tuple[str, str]:
    """A condition for the log's rows of a history key, and its parameter."""
    if key.startswith(sql.SESSION):
        return sql.OF_SESSION, key.removeprefix(sql.SESSION)
    return sql.OF_USER, key


def join_histories(db: sqlite3.Connection, which: str, session_id: str = "") -> None:
    """Move what is under the keys of sessions that have joined users to these."""
    values = {"session": sql.SESSION, "session_id": session_id}
    for table in ("history", "withheld"):
        for statement in (sql.MOVE, sql.MOVED):
            text = statement.format(table=table, which=which)
            db.execute(text, {name: each for name, each in values.items() if f":{name}" in text})


def erased_at(db: sqlite3.Connection, subject: str) -> int | None:
    """The moment (µs) up to which events of a person (`subject_of`) must not come back."""
    found: tuple[int | None] = db.execute(sql.ERASED, (subject,)).fetchone()
    return found[0]
