"""Is a downloaded copy complete, and in the form that the mapping expects?"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from vitrina.lake.datasets.base import DataFile, Dataset, plain_name, shown_name

CHUNK_BYTES: Final = 2**20
ARCHIVES: Final = (".zip", ".7z", ".tar", ".tgz")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one file, as a sentence; rows where they were counted."""

    file: str
    ok: bool
    sentence: str
    rows: int | None = None


def check(dataset: Dataset, place: Path) -> Iterator[Finding]:
    """Look at each file of a downloaded copy, counting rows where their number is published.

    place: the folder, or one of its files. Raises DataError when there is no such place.
    """
    found = dataset.find(place)
    for file in dataset.files:
        paths = found.get(file.role, [])
        if not paths:
            yield _missing(dataset, file, place)
        for path in paths:
            yield _look_at(file, path)


def _missing(dataset: Dataset, file: DataFile, place: Path) -> Finding:
    name = shown_name(file)
    if not file.required:
        return Finding(name, True, "is not there; the mapping can do without it.")
    folder = place if place.is_dir() else place.parent
    archives = [path.name for path in sorted(folder.iterdir()) if path.suffix in ARCHIVES]
    advice = f"Unpack {archives[0]}." if archives else f"It is part of {dataset.address}"
    return Finding(name, False, f"is missing. {advice}")


def _look_at(file: DataFile, path: Path) -> Finding:
    try:
        problem = _form_problem(file, path)
        if problem is not None:
            return Finding(path.name, False, problem)
        published = file.rows.get(plain_name(path))
        if published is None:
            return Finding(path.name, True, "has the expected form.")
        rows = _count_lines(path) - (file.form == "csv" and file.header)
    except (OSError, EOFError, zlib.error) as error:
        return Finding(path.name, False, f"cannot be read: {error}. Download it again.")
    if rows == published:
        return Finding(path.name, True, f"is complete: {rows:,} rows.", rows)
    how = "The copy is cut off: download it again." if rows < published else "Is it another set?"
    return Finding(
        path.name, False, f"has {rows:,} rows; {published:,} were published. {how}", rows
    )


def _form_problem(file: DataFile, path: Path) -> str | None:
    """What is wrong with the first line, as a sentence without its subject; None if nothing is."""
    with _opened(path) as stream:
        line = stream.readline(CHUNK_BYTES)
    try:
        text = line.decode(file.encoding).removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError:
        return f"is not in the encoding {file.encoding}. Download it again."
    if not text.strip():
        return "is empty. Download it again."
    if file.form == "jsonl":
        return _json_problem(file, text)
    if file.form == "csv":
        return _header_problem(file, text)
    return None


def _json_problem(file: DataFile, text: str) -> str | None:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return "does not begin with a JSON object on one line. Take the JSON Lines form."
    lacking = [key for key in file.columns if not isinstance(value, dict) or key not in value]
    return f"lacks the key {_listed(lacking)} in its first line." if lacking else None


def _header_problem(file: DataFile, text: str) -> str | None:
    fields = (
        text.split(file.delimiter)
        if len(file.delimiter) > 1
        else next(csv.reader([text], delimiter=file.delimiter))
    )
    if not file.header:
        expected = len(file.columns)
        if len(fields) == expected:
            return None
        return (
            f"has {len(fields)} fields in its first line where {expected} are expected "
            f"({', '.join(file.columns)})."
        )
    lacking = [name for name in file.columns if name not in fields]
    if not lacking:
        return None
    return f"lacks the column {_listed(lacking)}; its first line is: {text[:120]}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _count_lines(path: Path) -> int:
    """Lines of a file, the last one with or without its line end."""
    lines, last = 0, b"\n"
    with _opened(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked if it is compressed."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as stream:
            yield cast(BinaryIO, stream)
    else:
        with path.open("rb") as plain:
            yield plain
