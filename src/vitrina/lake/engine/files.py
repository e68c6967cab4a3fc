"""Results on disk: written aside, made durable, then named."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or a share of one, without room."""


def aside_of(path: Path) -> Path:
    """Where a result is written before it gets its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def move_into_place(aside: Path, path: Path) -> None:
    """Make a file or folder that was written aside durable, and give it its name."""
    files = [aside] if aside.is_file() else [file for file in aside.rglob("*") if file.is_file()]
    for file in files:
        make_durable(file)
    if path.is_dir():
        remove(path)
    aside.replace(path)
    make_durable(path.parent)


def make_durable(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
