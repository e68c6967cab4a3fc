"""What reading asks for and what it gives: rows with their places, under the names of the shop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from vitrina.lake.engine import ROW, Frame, frame_name
from vitrina.settings_sources import Source

Format = Literal["csv", "jsonl", "parquet"]

FILE: Final = "_file"
"""int64: the position of a row's file in `RawTable.files`. With ROW it is the row's place."""

REJECTED_COLUMNS: Final = (FILE, ROW, "column", "reason", "raw")
RAW_CHARS: Final = 1000
"""Quarantine keeps this many characters of a row."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One source, and what of its columns is of use.

    columns: names in the files, as `frame_name`s. They match without regard to case and
        surrounding blanks, and frames carry them as spelled here.
    required: of each of these sets of names, a file must have one.
    """

    source: Source
    columns: Sequence[str]
    required: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file, or a table of a database.

    address: what people are shown, without a password. wanted: the place of its source in the
    list. location: the address with everything that it takes to read it.
    """

    address: str
    wanted: int
    location: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file of which no row could be used, and why (a sentence that names it)."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class RawTable:
    """What was read of one table.

    files: the files read, sorted by address; `_file` counts in this list.
    frames: each usable file's place in `files` and its rows: `_file`, `_row` and those of its
        source's wanted columns that the file has. A list is one text, its elements joined by
        LIST_SEPARATOR; other nested values are JSON text.
    rejected: rows that could not be read, with REJECTED_COLUMNS.
    ignored: columns of the files that were not wanted.
    """

    files: list[InputFile]
    frames: dict[int, Frame]
    rejected: Frame
    unusable: list[UnusableFile]
    ignored: list[str]


def column_key(name: str) -> str:
    """What two spellings of one column's name have in common."""
    return frame_name(name).strip().lower()
