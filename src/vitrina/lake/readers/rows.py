"""Rows of text from one file, each with its number, and the rows that could not be split.

DuckDB's CSV reader sets malformed rows aside and goes on, but it numbers only the rows it keeps;
here they get the numbers they have in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vitrina.lake.engine import ROW, DuckDBEngine, Frame, literal
from vitrina.lake.readers.dialect import Dialect
from vitrina.lake.readers.raw import FILE, RAW_CHARS
from vitrina.lake.readers.reading import Reading
from vitrina.lake.readers.repair import repair
from vitrina.lake.readers.text_scan import scan_line_ends

MAX_ROW_BYTES: Final = 64 * 2**20

REJECT_REASONS: Final[Mapping[str, str]] = {
    "INVALID ENCODING": "bytes that are not UTF-8; save the file as UTF-8, or name its encoding",
    "TOO MANY COLUMNS": "more fields than the header; quote fields that hold the delimiter",
    "MISSING COLUMNS": "fewer fields than the header; write empty fields out",
    "UNQUOTED VALUE": "a quote that is never closed, or text after it; double quotes in a field",
    "LINE SIZE OVER MAXIMUM": "longer than 64 MiB",
}
NOT_CSV: Final = "not a well-formed CSV row"
HIDING: Final = (
    f"reason = '{REJECT_REASONS['LINE SIZE OVER MAXIMUM']}' OR "
    f"(reason = '{REJECT_REASONS['UNQUOTED VALUE']}' AND regexp_matches(raw, '[\\r\\n]'))"
)
"""Rejected rows in which others may be hidden that have nothing wrong with them."""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows of text in two tables, both with ROW: those loaded, and those that could not be split.

    loaded: FILE, ROW, and the columns asked for: c0, c1 … after their places in the header.
    rejected: ROW, place (of the column at fault, null for the whole row), reason, raw.
    """

    loaded: str
    rejected: str


def load_rows(reading: Reading, path: Path, dialect: Dialect, places: Sequence[int]) -> TextRows:
    """Load a file's rows as text. places: of the columns wanted, in the header."""
    engine = reading.engine
    ends = scan_line_ends(path)
    if not ends.mixed:
        rows = _load(reading, path, dialect, places)
        ((rejects, hiding),) = engine.run(
            f"SELECT count(*), count(*) FILTER ({HIDING}) FROM {rows.rejected}"
        )
        if rejects == 0 or not (hiding or (ends.blank and len(dialect.header) > 1)):
            _make_room(engine, rows.loaded, rows.rejected)
            return rows
        engine.run(f"DROP TABLE {rows.loaded}")
    copy = reading.scratch / "rows"
    try:
        repaired = repair(path, copy, dialect)
        rows = _load(reading, copy, replace(dialect, skip=0), places)
    finally:
        copy.unlink(missing_ok=True)
    apart = engine.new_name()
    engine.run(
        f"CREATE TABLE {apart} AS SELECT unnest($1::BIGINT[]) AS {ROW}, NULL::INTEGER AS place, "
        "$3::VARCHAR AS reason, unnest($2::VARCHAR[]) AS raw",
        [repaired.numbers, repaired.texts, REJECT_REASONS["UNQUOTED VALUE"]],
    )
    _make_room(engine, rows.rejected, apart)
    engine.run(f"INSERT INTO {rows.rejected} FROM {apart}")
    _make_room(engine, rows.loaded, rows.rejected)
    return rows


def _load(reading: Reading, path: Path, dialect: Dialect, places: Sequence[int]) -> TextRows:
    """Load what can be split; rejected rows are numbered, those loaded just counted."""
    engine = reading.engine
    loaded = engine.new_name()
    errors, scans, rejected = f"{loaded}_errors", f"{loaded}_scans", f"{loaded}_rejected"
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(dialect.header)))
    wanted = "".join(f", c{place}" for place in places)
    engine.run(
        f"CREATE TABLE {loaded} AS SELECT {reading.number}::BIGINT AS {FILE}, "
        f"row_number() OVER () AS {ROW}{wanted} FROM read_csv(?, delim = ?, quote = ?, "
        f"escape = ?, header = false, skip = {dialect.skip}, columns = {{{columns}}}, "
        f"nullstr = '', auto_detect = false, compression = 'none', "
        f"max_line_size = {MAX_ROW_BYTES}, "
        f"ignore_errors = true, store_rejects = true, rejects_limit = 0, "
        f"rejects_table = '{errors}', rejects_scan = '{scans}')",
        [literal(path), dialect.delimiter, dialect.quote, dialect.escape],
    )
    reasons = list(REJECT_REASONS), list(REJECT_REASONS.values())
    engine.run(
        f"""
        CREATE TABLE {rejected} AS
        SELECT line::BIGINT - {dialect.skip} AS {ROW},
               TRY_CAST(substr(column_name, 2) AS INTEGER) AS place,
               coalesce(MAP($1::VARCHAR[], $2::VARCHAR[])[error_type::VARCHAR], $3) AS reason,
               csv_line AS raw
        FROM (SELECT *, row_number() OVER () AS found FROM {errors})
        QUALIFY row_number() OVER (PARTITION BY line ORDER BY found) = 1
        """,
        [*reasons, NOT_CSV],
    )
    engine.run(f"DROP TABLE {errors}")
    engine.run(f"DROP TABLE {scans}")
    return TextRows(loaded, rejected)


def _make_room(engine: DuckDBEngine, table: str, gaps: str) -> None:
    """Shift the rows of `table`, which were counted without those of `gaps`, to make room."""
    if engine.run(f"SELECT count(*) FROM {gaps}") == [(0,)]:
        return
    engine.run(
        f"""
        UPDATE {table} SET {ROW} = {ROW} + shift.gaps FROM (
            SELECT counted.{ROW} AS place, before.gaps FROM {table} counted
            ASOF JOIN (
                SELECT {ROW} - gaps AS counted, max(gaps) AS gaps
                FROM (SELECT {ROW}, row_number() OVER (ORDER BY {ROW}) AS gaps FROM {gaps})
                GROUP BY counted
            ) before ON counted.{ROW} > before.counted
        ) shift WHERE {ROW} = shift.place
        """
    )


def rejected_rows(reading: Reading, rows: TextRows, header: Sequence[str]) -> Frame:
    """The rows that could not be split, with REJECTED_COLUMNS: one entry a row."""
    return reading.engine.query(
        f"SELECT {reading.number}::BIGINT AS {FILE}, {ROW}, "
        "($1::VARCHAR[])[place + 1] AS column, reason, "
        f"substr(raw, 1, {RAW_CHARS}) AS raw FROM {rows.rejected}",
        [list(header)],
    )
