"""Parquet files: columns keep their types, and the engine itself reads them."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw

from vitrina.lake.engine import ROW, Engine
from vitrina.lake.readers.raw import FILE
from vitrina.lake.readers.reading import FileRows, Reading


def read_parquet(reading: Reading, engine: Engine, path: Path) -> FileRows:
    """The rows of one file, lazily.

    Raises DataError when it cannot be read, or lacks a required column.
    """
    frame = engine.scan_source(path)
    found = [name for name in frame.collect_schema() if name != ROW]
    columns = reading.match(found)
    values = [nw.col(found[place]).alias(name) for name, place in columns.places.items()]
    number = nw.lit(reading.number, nw.Int64).alias(FILE)
    return reading.rows(frame.select(number, ROW, *values), columns)
