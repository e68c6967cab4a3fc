"""Compressed files, and text in other encodings, as plain UTF-8 files.

Whether a file is compressed its first bytes tell, not its name. Copies are made in a scratch
folder, one file at a time, so that no more disk is needed than the largest file takes. A file that
is cut off or damaged is not used at all: what comes before the cut looks like a complete day of a
shop that had half its customers.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, Final, Literal

import pyarrow as pa  # type: ignore[import-untyped]

from vitrina.errors import DataError
from vitrina.lake.engine.files import FULL
from vitrina.lake.readers.raw import Format

CHUNK_BYTES: Final = 2**20

Compression = Literal["gzip", "zstd", "bz2", "xz", "zip"]
MAGIC: Final[Mapping[bytes, Compression]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
}
SUFFIXES: Final = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".zip")

FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".data": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}

BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
DAMAGED: Final = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)


def is_known(name: str) -> bool:
    """Whether a file name says that there are rows in the file."""
    path = PurePath(name.lower())
    return path.suffix in FORMATS or path.suffix in SUFFIXES


def unpacked(path: Path, address: str, copy: Path) -> Path:
    """The file itself, or what was compressed in it, written to `copy`.

    Raises DataError when it is cut off, damaged, or an archive of several files.
    """
    compression = _compression(path)
    if compression is None:
        return path
    try:
        with _opened(path, compression, address) as packed, copy.open("wb") as written:
            shutil.copyfileobj(packed, written, CHUNK_BYTES)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise DataError(
            f"{address} is cut off or damaged ({compression}: {error}). Nothing of it was used; "
            "copy it again."
        ) from error
    return copy


def in_utf8(path: Path, address: str, copy: Path, encoding: str | None) -> Path:
    """The file itself if it is UTF-8, or its text in UTF-8, written to `copy`.

    encoding: what the source says; by default UTF-16 and UTF-32 are known by their first bytes.
    Raises DataError when the file holds something else.
    """
    encoding = encoding or _told(path)
    if encoding is None or codecs.lookup(encoding).name == "utf-8":
        return path
    try:
        with (
            path.open(encoding=encoding, newline="") as text,
            copy.open("w", encoding="utf-8", newline="") as written,
        ):
            shutil.copyfileobj(text, written, CHUNK_BYTES)
    except UnicodeError as error:
        raise DataError(
            f"{address} is not {encoding} ({error}). Name its 'encoding' in vitrina.toml, or save "
            "it as UTF-8."
        ) from error
    return copy


def format_of(path: Path, name: str) -> Format:
    """The format of an unpacked file: by its first bytes where they tell, else by its name."""
    with path.open("rb") as file:
        start = file.read(CHUNK_BYTES)
    if start.startswith(b"PAR1"):
        return "parquet"
    inner = PurePath(name.lower())
    while inner.suffix in SUFFIXES:
        inner = inner.with_suffix("")
    known = FORMATS.get(inner.suffix)
    if known is None:
        return "jsonl" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"
    return known


def _compression(path: Path) -> Compression | None:
    with path.open("rb") as file:
        start = file.read(max(len(magic) for magic in MAGIC))
    for magic, compression in MAGIC.items():
        # Any text may begin with "BZh"; a bzip2 file goes on with the size of its blocks.
        if start.startswith(magic) and (magic != b"BZh" or start[3:4].isdigit()):
            return compression
    return None


@contextmanager
def _opened(path: Path, compression: Compression, address: str) -> Iterator[IO[bytes]]:
    """What was compressed, as a stream."""
    if compression == "zip":
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, address)) as member:
            yield member
        return
    opened: Mapping[str, Callable[[str], Any]] = {
        "gzip": gzip.open,
        "bz2": bz2.open,
        "xz": lzma.open,
        "zstd": lambda name: pa.input_stream(name, compression="zstd"),
    }
    with opened[compression](str(path)) as stream:
        yield stream


def _member(archive: zipfile.ZipFile, address: str) -> zipfile.ZipInfo:
    """The one file in a zip archive; a Mac's own notes beside it do not count."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5]) or "none"
        raise DataError(
            f"{address} holds {len(members)} files ({names}); a zip archive is read if it holds "
            "one. Unpack it, and name the folder."
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{address} is encrypted. Unpack it, and name the file.")
    return members[0]


def _told(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
