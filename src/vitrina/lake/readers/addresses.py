"""Addresses and the files behind them: files, folders, globs, buckets, tables of a database.

    clicks.csv   clicks/   clicks/*.csv   clicks/**/*.parquet
    s3://bucket/key   s3://bucket/folder/   s3://bucket/folder/*.parquet
    postgresql://user@host/shop?table=public.clicks

Folders are searched whole, for names that end in a known format. What begins with a dot or an
underscore in them (`_SUCCESS`, `_delta_log`) is not data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.readers import s3
from vitrina.lake.readers.plain import FORMATS, is_known
from vitrina.lake.readers.raw import InputFile, Wanted
from vitrina.settings_sources import hide_passwords

DATABASES: Final = ("postgresql://", "postgres://")
GLOB_SIGN: Final = re.compile(r"[*?\[]")
GLOB_PART: Final = re.compile(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])")


def find_files(table: str, wanted: Sequence[Wanted]) -> list[InputFile]:
    """The files of all sources, sorted by address, each once.

    Raises DataError when there are no sources, when an address matches no file, and when a
    folder cannot be searched.
    """
    if not wanted:
        raise DataError(f"No {table} to read: set '{table}' in [lake] of vitrina.toml.")
    found: dict[tuple[str, str], InputFile] = {}
    for number, each in enumerate(wanted):
        # A file named twice is read twice only if it is to be understood in two ways.
        meaning = each.source.model_dump_json(exclude={"files"})
        for address in each.source.files:
            matched = [InputFile(hide_passwords(file), number, file) for file in _expand(address)]
            if not matched:
                raise DataError(
                    f"{hide_passwords(address)} ({table} in [lake] of vitrina.toml) matches no "
                    f"file ending in {', '.join(FORMATS)}, compressed or not. Check the address; "
                    "relative ones start at the folder of vitrina.toml."
                )
            for file in matched:
                found.setdefault((_identity(file.location), meaning), file)
    return sorted(found.values(), key=lambda file: file.address.split("/"))


def is_database(location: str) -> bool:
    """Whether an address is of a database, not of a file."""
    return location.startswith(DATABASES)


def _identity(location: str) -> str:
    return location if "://" in location else str(Path(location).resolve())


def _expand(address: str) -> list[str]:
    """The files behind one address, in no order."""
    if is_database(address):
        return [address]
    if address.startswith(s3.SCHEME):
        return _search(address, s3.is_object, s3.list_objects)
    if "://" in address:
        raise DataError(
            f"{hide_passwords(address)} cannot be read: an address is a path, s3://… or "
            "postgresql://…. Copy the files to one of them."
        )
    return _search(address, lambda name: Path(name).is_file(), _walk)


def _search(
    address: str, is_file: Callable[[str], bool], list_files: Callable[[str, int | None], list[str]]
) -> list[str]:
    """One file, or what a folder or a glob holds.

    list_files: all files below a folder, down to a depth (None: all the way), as addresses.
    """
    if is_file(address):
        return [address]
    glob = GLOB_SIGN.search(address)
    if glob is None:
        folder = address.rstrip("/")
        return [name for name in list_files(folder, None) if _is_data(name, folder, any_name=False)]
    folder = address[: glob.start()].rpartition("/")[0]
    pattern = _regex(address)
    depth = None if "**" in address else address.count("/", len(folder) + 1)
    # A pattern that spells out how names end is not limited to the endings that we know.
    spelled = GLOB_SIGN.search(PurePath(address).suffix) is None and PurePath(address).suffix != ""
    return [
        name
        for name in list_files(folder or ("/" if address.startswith("/") else "."), depth)
        if pattern.fullmatch(name) and _is_data(name, folder, any_name=spelled)
    ]


def _is_data(name: str, folder: str, *, any_name: bool) -> bool:
    below = name.removeprefix(folder).split("/")
    return not any(part.startswith((".", "_")) for part in below) and (any_name or is_known(name))


def _regex(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stay within a folder, `**` does not."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = []
    for part in GLOB_PART.split(glob):
        choice = part.replace("[!", "[^") if GLOB_PART.fullmatch(part) else re.escape(part)
        parts.append(signs.get(part, choice))
    return re.compile("".join(parts), re.DOTALL)


def _walk(folder: str, depth: int | None) -> list[str]:
    """All files below a folder. Raises DataError when a part of it cannot be searched."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise DataError(
                f"{error.filename} cannot be searched: {error.strerror}. Allow this user to read "
                "it, or name the files that are to be read."
            ) from error

    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        level = len(Path(place).relative_to(folder).parts)
        if depth is not None and level >= depth:
            folders.clear()
        found.extend(str(Path(place) / name) for name in names)
    return found
