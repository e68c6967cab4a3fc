"""What reading asks for and what it gives: rows with their places, under the names of the shop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.engine import ROW, Frame
from vitrina.settings_sources import Source

FILE: Final = "_file"
"""int64: the position of a row's file in `RawTable.files`. With ROW it is the row's place."""

REJECTED_COLUMNS: Final = (FILE, ROW, "column", "reason", "raw")
RAW_CHARS: Final = 1000
"""Quarantine keeps this many characters of a row."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One source, and what of its columns is of use.

    columns: names in the files. They match without regard to case and surrounding blanks, and
        frames carry them as spelled here.
    required: of each of these sets of names, a file must have one.
    """

    source: Source
    columns: Sequence[str]
    required: Sequence[Sequence[str]] = ()

    def match(self, address: str, found: Sequence[str]) -> dict[str, str]:
        """Each wanted column that the file has -> its name in the file.

        Raises DataError when a required column is missing or a wanted one is there twice.
        """
        wanted = {_key(name): name for name in self.columns}
        theirs: dict[str, str] = {}
        for name in found:
            ours = wanted.get(_key(name))
            if ours is None:
                continue
            if ours in theirs:
                raise DataError(f"{address} has the column '{ours}' twice. Remove one of them.")
            theirs[ours] = name
        for choice in self.required:
            if not any(name in theirs for name in choice):
                raise DataError(
                    f"{address} has no column {' or '.join(repr(name) for name in choice)} "
                    f"(found: {', '.join(found) or 'none'}). Add it, or rename the column that "
                    "holds it."
                )
        return theirs


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file. address: as the user would write it; wanted: the place of its source in the list."""

    address: str
    wanted: int


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


def _key(name: str) -> str:
    return name.strip().lower()
