"""Rows of text from one file, each with its number, and the rows that could not be split.

DuckDB's CSV reader sets malformed rows aside and goes on, but it numbers only the rows it keeps;
here they get the numbers they have in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from vitrina.lake.engine import ROW, DuckDBEngine, Frame, literal
from vitrina.lake.readers.raw import FILE, RAW_CHARS

MAX_ROW_BYTES: Final = 64 * 2**20

REJECT_REASONS: Final[Mapping[str, str]] = {
    "INVALID ENCODING": "bytes that are not UTF-8; save the file as UTF-8",
    "TOO MANY COLUMNS": "more fields than the header; quote fields that hold the delimiter",
    "MISSING COLUMNS": "fewer fields than the header; write empty fields out",
    "UNQUOTED VALUE": "a quote that is never closed, or text after it; double quotes in a field",
    "LINE SIZE OVER MAXIMUM": "longer than 64 MiB",
}
NOT_CSV: Final = "not a well-formed CSV row"


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows of text loaded into `table`, and the places of those that could not be."""

    table: str
    rejects: str
    number: int
    first_line: int


def load_rows(
    engine: DuckDBEngine,
    scratch: Path,
    number: int,
    path: Path,
    names: Sequence[str],
    delimiter: str,
    quote: str,
    *,
    header: bool,
) -> TextRows:
    """Load a file's rows as text columns; rows that cannot be split are set apart."""
    try:
        return _load(engine, number, path, names, delimiter, quote, header=header)
    except duckdb.InvalidInputException:
        # Two kinds of line end in one file: DuckDB takes one or the other.
        plain = scratch / f"{number}.txt"
        with path.open("rb") as mixed, plain.open("wb") as written:
            for line in mixed:
                written.write(line.replace(b"\r\n", b"\n"))
        return _load(engine, number, plain, names, delimiter, quote, header=header)


def _load(
    engine: DuckDBEngine,
    number: int,
    path: Path,
    names: Sequence[str],
    delimiter: str,
    quote: str,
    *,
    header: bool,
) -> TextRows:
    table = engine.new_name()
    errors, scans = f"{table}_errors", f"{table}_scans"
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    engine.run(
        f"CREATE TABLE {table} AS SELECT {number}::BIGINT AS {FILE}, "
        f"row_number() OVER () AS {ROW}, * FROM read_csv(?, delim = ?, quote = ?, escape = ?, "
        f"header = {header}, columns = {{{columns}}}, nullstr = '', auto_detect = false, "
        f"max_line_size = {MAX_ROW_BYTES}, ignore_errors = true, store_rejects = true, "
        f"rejects_table = '{errors}', rejects_scan = '{scans}')",
        [literal(path), delimiter, quote, quote],
    )
    rows = TextRows(table, errors, number, first_line=2 if header else 1)
    if engine.run(f"SELECT count(*) FROM {errors}") != [(0,)]:
        _make_room_for_rejects(engine, rows)
    return rows


def _make_room_for_rejects(engine: DuckDBEngine, rows: TextRows) -> None:
    """Shift row numbers by the rejected rows before them: they counted only what was kept."""
    engine.run(
        f"""
        UPDATE {rows.table} SET {ROW} = {ROW} + shift.rejects FROM (
            SELECT kept.{ROW} AS place, before.rejects FROM {rows.table} kept
            ASOF JOIN (
                SELECT line - {rows.first_line - 1} - rejects AS kept, max(rejects) AS rejects
                FROM (SELECT line, row_number() OVER (ORDER BY line) AS rejects
                      FROM (SELECT DISTINCT line FROM {rows.rejects}))
                GROUP BY kept
            ) before ON kept.{ROW} > before.kept
        ) shift WHERE {ROW} = shift.place
        """
    )


def rejected_rows(engine: DuckDBEngine, rows: TextRows, names: Mapping[str, str]) -> Frame:
    """The rows that could not be split: one entry a row, its first error.

    names: what the file calls each loaded column.
    """
    return engine.query(
        f"""
        SELECT {rows.number}::BIGINT AS {FILE}, line::BIGINT - {rows.first_line - 1} AS {ROW},
               MAP($1::VARCHAR[], $2::VARCHAR[])[column_name] AS column,
               coalesce(MAP($3::VARCHAR[], $4::VARCHAR[])[error_type::VARCHAR], $5) AS reason,
               substr(csv_line, 1, {RAW_CHARS}) AS raw
        FROM (SELECT *, row_number() OVER () AS place FROM {rows.rejects})
        QUALIFY row_number() OVER (PARTITION BY line ORDER BY place) = 1
        """,
        [
            list(names),
            list(names.values()),
            list(REJECT_REASONS),
            list(REJECT_REASONS.values()),
            NOT_CSV,
        ],
    )
