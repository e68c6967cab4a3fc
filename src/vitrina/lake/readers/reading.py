"""One file being read: what each format is given, and what it gives back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import narwhals as nw

from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine, Frame
from vitrina.lake.readers.raw import Wanted, column_key

PARTITION: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^/]*)")
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a file has the wanted columns.

    places: wanted name -> place among the file's columns. constants: wanted name -> the value of
    a partition (`day=2024-05-01` in the address), None where it is null. ignored: not wanted.
    """

    places: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, str | None] = field(default_factory=dict)
    ignored: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FileRows:
    """A file's rows and those that could not be read, as `RawTable` has them."""

    frame: Frame
    rejected: Sequence[Frame] = ()
    ignored: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A file to read. number: its place in `RawTable.files`. scratch: an empty folder for it."""

    engine: DuckDBEngine
    scratch: Path
    number: int
    address: str
    wanted: Wanted

    def match(self, found: Sequence[str]) -> Columns:
        """Where the wanted columns are among `found`, the file's own, and in its address.

        Raises DataError when a required column is missing or a wanted one is there twice.
        """
        partitions = _partitions(self.address)
        own = {column_key(name) for name in found}
        beside = [name for name in partitions if column_key(name) not in own]
        names = [*found, *beside]
        places = _match(self.wanted, self.address, names)
        constants = {
            name: partitions[names[place]] for name, place in places.items() if place >= len(found)
        }
        return Columns(
            {name: place for name, place in places.items() if place < len(found)},
            constants,
            [name for place, name in enumerate(found) if place not in places.values()],
        )

    def rows(self, frame: Frame, columns: Columns, rejected: Sequence[Frame] = ()) -> FileRows:
        """What was read, with the values that the address adds."""
        constants = [
            nw.lit(value, nw.String).alias(name) for name, value in columns.constants.items()
        ]
        whole = frame.with_columns(*constants) if constants else frame
        return FileRows(whole, rejected, columns.ignored)


def _match(wanted: Wanted, address: str, found: Sequence[str]) -> dict[str, int]:
    """Each wanted column that the file has -> its place in `found`."""
    names = {column_key(name): name for name in wanted.columns}
    places: dict[str, int] = {}
    for place, theirs in enumerate(found):
        name = names.get(column_key(theirs))
        if name is None:
            continue
        if name in places:
            raise DataError(f"{address} has the column '{name}' twice. Remove one of them.")
        places[name] = place
    for choice in wanted.required:
        if not any(name in places for name in choice):
            raise DataError(
                f"{address} has no column {' or '.join(repr(name) for name in choice)} "
                f"(found: {', '.join(found) or 'none'}). Add it, or rename the column that holds "
                "it."
            )
    return places


def _partitions(address: str) -> dict[str, str | None]:
    """Names and values of the folders `name=value` in an address."""
    folders = re.split(r"[/\\]", address)[:-1]
    found = (PARTITION.fullmatch(folder) for folder in folders)
    return {
        match[1]: None if match[2] == NO_VALUE else unquote(match[2]) for match in found if match
    }
