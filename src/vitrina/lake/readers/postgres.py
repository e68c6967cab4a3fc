"""Tables and queries of PostgreSQL: postgresql://user@host/shop?table=public.clicks (or query=…).

The server writes the wanted columns as CSV (COPY) into a scratch file, in the steps in which they
arrive, and the file is read as any other: the memory that it takes does not grow with the table,
and the values keep the form in which the server spells them. The connection only reads, in UTC.
All parameters but `table` and `query` are libpq's own; a password is better left to PGPASSWORD or
~/.pgpass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vitrina.errors import DataError, MissingExtra, SourceError
from vitrina.lake.engine import LIST_SEPARATOR, first_line
from vitrina.lake.readers.csv import read_rows
from vitrina.lake.readers.dialect import Dialect
from vitrina.lake.readers.reading import FileRows, Reading
from vitrina.settings_sources import hide_passwords

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

SESSION: Final = (
    "SET TIME ZONE 'UTC'",
    "SET DateStyle TO 'ISO, YMD'",
    "SET client_encoding TO 'UTF8'",
    # The same rows in the same order each time, as far as the server can tell.
    "SET synchronize_seqscans TO off",
    "SET max_parallel_workers_per_gather TO 0",
)


def read_postgres(reading: Reading, location: str) -> FileRows:
    """The rows that a table or a query holds at this moment; they count in the order they come.

    Raises SourceError when the server cannot be reached or refuses, DataError when the address
    names neither table nor query, or a required column is missing.
    """
    try:
        from psycopg import sql
    except ImportError as error:
        raise MissingExtra("psycopg", "postgres") from error
    copy = reading.scratch / "rows.csv"
    with _connected(reading, location) as (connection, rows):
        cursor = connection.execute(sql.SQL("SELECT * FROM ({}) AS rows LIMIT 0").format(rows))
        found = [column.name for column in cursor.description or ()]
        columns = reading.match(found)
        arrays = _arrays(connection, [column.type_code for column in cursor.description or ()])
        chosen = sorted(columns.places.values())
        if not chosen:
            raise DataError(f"{reading.address} has none of our columns: {', '.join(found)}.")
        values = [
            sql.SQL("array_to_string({}, {})").format(sql.Identifier(found[place]), LIST_SEPARATOR)
            if arrays[place]
            else sql.Identifier(found[place])
            for place in chosen
        ]
        export = sql.SQL("COPY (SELECT {} FROM ({}) AS rows) TO STDOUT (FORMAT csv)").format(
            sql.SQL(", ").join(values), rows
        )
        with connection.cursor().copy(export) as stream, copy.open("wb") as written:
            for block in stream:
                written.write(block)
    dialect = Dialect(",", '"', '"', skip=0, header=tuple(found[place] for place in chosen))
    return replace(read_rows(reading, copy, dialect), ignored=columns.ignored)


def _arrays(connection: Connection[Any], types: list[int]) -> list[bool]:
    """Of each of these types, by number, whether it is an array."""
    query = "SELECT oid FROM pg_type WHERE typcategory = 'A' AND oid = ANY(%s)"
    arrays = {oid for (oid,) in connection.execute(query, [types])}
    return [oid in arrays for oid in types]


@contextmanager
def _connected(reading: Reading, location: str) -> Iterator[tuple[Connection[Any], Composed]]:
    """A connection that only reads, and the query for the rows; its failures become sentences."""
    import psycopg

    server, rows = _rows(reading, location)
    try:
        with psycopg.connect(server) as connection:
            connection.read_only = True
            for setting in SESSION:
                connection.execute(setting)
            yield connection, rows
    except psycopg.Error as error:
        # Without its cause: that may spell out the address, password and all.
        raise SourceError(
            f"{reading.address} cannot be read: {hide_passwords(first_line(error))}. Check the "
            "address and that the server allows this user to read. The lake was left as it was."
        ) from None


def _rows(reading: Reading, location: str) -> tuple[str, Composed]:
    """The address of the database, and the query that the rest of `location` stands for."""
    from psycopg import sql

    parts = urlsplit(location)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    table, query = parameters.pop("table", ""), parameters.pop("query", "")
    if bool(table) == bool(query):
        raise DataError(
            f"{reading.address} does not say which rows. Write ?table=schema.name or "
            "?query=SELECT… behind the name of the database: one of the two."
        )
    server = urlunsplit(parts._replace(query=urlencode(parameters)))
    if table:
        return server, sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split(".")))
    return server, sql.Composed([sql.SQL(query.strip().rstrip(";"))])
