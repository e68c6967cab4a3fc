"""What a public data set is to Vitrina: its facts, its files, and how they become our columns."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine

ITEMS: Final = "items.parquet"
EVENTS: Final = "events.parquet"
"""What a `prepare` writes; a source whose file is one of these reads what was prepared."""

ANY_NAME: Final = "{}"
"""In the pattern of a file: the part of its name that is the publisher's choice."""

FilesByRole = Mapping[str, Sequence[Path]]
Prepare = Callable[[DuckDBEngine, FilesByRole, Path], None]
"""Writes ITEMS or EVENTS (or both) into a folder, from the files of a download."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One kind of file in a download.

    role: what mappings call it. pattern: its name, with ANY_NAME where names vary.
    columns: the header's names or, of a JSON object a line, the keys that every line has; of a
        file without a header (`header` false), the names it would have. Empty: not checked.
    rows: published number of rows, without the header, by file name.
    """

    role: str
    pattern: str
    columns: tuple[str, ...] = ()
    form: Literal["csv", "jsonl", "text"] = "csv"
    delimiter: str = ","
    header: bool = True
    encoding: str = "utf-8"
    rows: Mapping[str, int] = field(default_factory=dict)
    required: bool = True

    def fits(self, path: Path, name: str = "*") -> bool:
        """Whether a file is of this kind, compressed or not. name: what ANY_NAME has to be."""
        pattern = self.pattern.replace(ANY_NAME, name)
        return fnmatch.fnmatchcase(plain_name(path), pattern)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public data set and the decisions with which it is read.

    events, items, users: as published; None where nobody publishes the number.
    size: of the download, in words. terms: licence and conditions, in short.
    address: where a person gets it. decisions: what the mapping decided, a sentence each.
    items_from, events_from: sources as in `[[lake.items]]` of vitrina.toml; their `files` are
        roles, or ITEMS and EVENTS. settings: other keys of vitrina.toml, by section.
    """

    name: str
    title: str
    about: str
    events: int | None
    items: int | None
    users: int | None
    size: str
    terms: str
    address: str
    decisions: tuple[str, ...]
    files: tuple[DataFile, ...]
    items_from: tuple[Mapping[str, Any], ...] = ({"files": [ITEMS]},)
    events_from: tuple[Mapping[str, Any], ...] = ({"files": [EVENTS]},)
    prepare: Prepare | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def find(self, place: Path) -> dict[str, list[Path]]:
        """The files of a download by role, sorted by path; a role without files is left out.

        place: the folder of the download, searched whole; or one of its files, for that file and
        those that belong to it by name. Each file has the first role that fits it. Raises
        DataError when there is no such place.
        """
        if not place.exists():
            raise DataError(f"There is no {place}. Name the folder of the unpacked download.")
        folder, name = (place, "*") if place.is_dir() else (place.parent, self._own_name(place))
        found: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*") if place.is_dir() else folder.iterdir()):
            role = next((file.role for file in self.files if file.fits(path, name)), None)
            if role is not None and path.is_file():
                found.setdefault(role, []).append(path)
        return found

    def require(self, place: Path) -> dict[str, list[Path]]:
        """`find`, when all required files are there. Raises DataError naming one that is not."""
        found = self.find(place)
        for file in self.files:
            if file.required and file.role not in found:
                raise DataError(
                    f"{place} has no {shown_name(file)}. 'vitrina datasets check {self.name} "
                    f"{place}' says what is missing; {self.address} has it."
                )
        return found

    def _own_name(self, path: Path) -> str:
        """The part of a file's name that the publisher chose."""
        for file in self.files:
            before, _, after = file.pattern.partition(ANY_NAME)
            plain = plain_name(path)
            if file.fits(path) and after:
                return plain.removeprefix(before).removesuffix(after)
        raise DataError(
            f"{path} is no file of {self.title}, which has "
            f"{', '.join(shown_name(file) for file in self.files)}."
        )


def plain_name(path: Path) -> str:
    """A file's name without what its compression added."""
    return path.name.removesuffix(".gz")


def shown_name(file: DataFile) -> str:
    """A pattern as people write it."""
    return file.pattern.replace(ANY_NAME, "*")
