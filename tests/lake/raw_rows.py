"""What the readers make of files: their rows as plain Python, with their places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.readers.addresses import find_files
from vitrina.lake.readers.raw import RawTable, Wanted
from vitrina.lake.readers.read import read_files
from vitrina.settings_sources import Source


def read_rows(
    files: str | Path | Sequence[str | Path], columns: Sequence[str], /, **source: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], RawTable]:
    """Read files. Returns the rows and the rejected rows, each with `file` (the address) and
    `row`, sorted by place; and the table itself. Raises DataError with the first file's fault
    when no file can be used."""
    addresses = [files] if isinstance(files, str | Path) else files
    wanted = Wanted(Source(files=[str(each) for each in addresses], **source), columns)
    with DuckDBEngine() as engine:
        table = read_files(engine, find_files("events", [wanted]), [wanted])
        if not table.frames:
            raise DataError(table.unusable[0].reason)
        read = [row for frame in table.frames.values() for row in engine.collect(frame).to_pylist()]
        rejected = engine.collect(table.rejected).to_pylist()
    return _placed(read, table), _placed(rejected, table), table


def _placed(rows: list[dict[str, Any]], table: RawTable) -> list[dict[str, Any]]:
    placed = [
        {"file": table.files[row.pop("_file")].address, "row": row.pop("_row"), **row}
        for row in rows
    ]
    return sorted(placed, key=lambda row: (row["file"], row["row"]))
