"""CSV in any dialect: rows of text columns."""

from __future__ import annotations

from pathlib import Path

from vitrina.lake.engine import ROW
from vitrina.lake.engine.duckdb import identifier
from vitrina.lake.readers.dialect import Dialect, sniff_dialect
from vitrina.lake.readers.raw import FILE
from vitrina.lake.readers.reading import FileRows, Reading
from vitrina.lake.readers.rows import load_rows, rejected_rows


def read_csv(reading: Reading, path: Path) -> FileRows:
    """The rows of one UTF-8 file, its dialect read off its beginning.

    Raises DataError when it has no header, or lacks a required column.
    """
    return read_rows(reading, path, sniff_dialect(path, reading.address, reading.wanted.source))


def read_rows(reading: Reading, path: Path, dialect: Dialect) -> FileRows:
    """The rows of a file of a known dialect."""
    columns = reading.match(dialect.header)
    rows = load_rows(reading, path, dialect, sorted(columns.places.values()))
    values = [f"c{place} AS {identifier(name)}" for name, place in columns.places.items()]
    frame = reading.engine.query(f"SELECT {', '.join([FILE, ROW, *values])} FROM {rows.loaded}")
    return reading.rows(frame, columns, [rejected_rows(reading, rows, dialect.header)])
