"""What the data sets' SQL has in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrina.lake.datasets.base import DataFile
from vitrina.lake.engine import literal


def csv_table(file: DataFile) -> str:
    """A table function over the CSV files of this kind, all columns text; `?` is their paths.

    Fields are quoted where the delimiter is a comma; other delimiters come with files that do
    not quote and may hold quotation marks.
    """
    quote = '"' if file.delimiter == "," else ""
    options = (
        f"delim = '{file.delimiter}', quote = '{quote}', escape = '{quote}', nullstr = '', "
        f"encoding = '{file.encoding}'"
    )
    if file.header:
        return f"read_csv(?, header = true, all_varchar = true, {options})"
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in file.columns)
    return f"read_csv(?, header = false, auto_detect = false, columns = {{{columns}}}, {options})"


def paths(files: Sequence[Path]) -> list[str]:
    """Paths as a parameter of DuckDB's table functions."""
    return [literal(path) for path in files]
