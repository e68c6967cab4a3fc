"""Writing files and folders so that a reader sees all of them or none."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitrina.errors import BundleError

PARTIAL = ".partial-"


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes; releases the GIL, so files can be hashed in parallel."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and rename it over: readers see the old bytes or the new."""
    with file_aside(path) as partial:
        partial.write_bytes(content)


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` to write; on leaving it is flushed and renamed over `path`.

    An exception removes it and leaves `path` as it was.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    try:
        yield partial
        fsync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync(path.parent)


@contextmanager
def complete_or_absent(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill; on leaving it is flushed and renamed to `folder`.

    An exception (Ctrl-C included) removes the sibling. A process killed outright leaves it
    behind under a dotted name, and the next write to `folder` removes it.
    Raises BundleError if `folder` is already there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(folder.parent, folder.name)
    if folder.exists():
        raise BundleError(
            f"{folder} already exists, and bundles are never changed. Remove it first, or write "
            f"to another folder."
        )
    partial = folder.with_name(f".{folder.name}{PARTIAL}{os.getpid()}")
    try:
        partial.mkdir()
        yield partial
        for file in partial.iterdir():
            fsync(file)
        fsync(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync(folder.parent)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """`complete_or_absent` for a folder that is made again: the old one stays until then."""
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    with complete_or_absent(fresh) as partial:
        yield partial
    put_in_place(fresh, folder)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Let the complete folder `fresh` take the place of `folder`, whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    fsync(folder.parent)


def remove_partials(parent: Path, name: str = "*") -> None:
    """Remove what killed writers of `name` (default: of anything) left in `parent`."""
    for leftover in parent.glob(f".{name}{PARTIAL}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
