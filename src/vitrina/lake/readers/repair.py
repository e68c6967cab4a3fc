"""Rewriting a text file that the CSV reader would misread, without losing a row's number.

The reader takes one kind of line end, and a quote that is never closed makes it take everything
up to the next quote for one row. Here such a file is copied with one kind of line end, without
blank lines, and without the rows whose quotes do not close; those are kept with their numbers.
It goes line by line, a few hundred thousand a second, so only files that need it come here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from vitrina.lake.readers.dialect import Dialect
from vitrina.lake.readers.raw import RAW_CHARS
from vitrina.lake.readers.text_scan import CHUNK_BYTES

MAX_LINES: Final = 1000
"""A quoted field that is still open after so many lines was never meant to be one."""
MAX_TEXTS: Final = 100_000
"""Texts of rows after these are not kept: a file of nothing but bad rows must fit in memory."""
LINE_END: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(slots=True)
class Repaired:
    """A copy of a file that reads as it was meant.

    numbers, texts: of the rows left out of the copy. The rows in the copy are the others.
    """

    path: Path
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def repair(path: Path, copy: Path, dialect: Dialect) -> Repaired:
    """Copy the rows of `path` (without header and comments) to `copy`.

    In a file of one column a blank line is a row and stays.
    """
    repaired = Repaired(copy)
    with path.open("rb") as file, copy.open("wb") as written:
        lines = _lines(file)
        for _ in range(dialect.skip):
            next(lines, None)
        records = _records(lines, dialect) if dialect.quote else ((line, True) for line in lines)
        number = 0
        for text, is_row in records:
            if not text and len(dialect.header) > 1:
                continue
            number += 1
            if is_row:
                written.write(text + b"\n")
            else:
                repaired.numbers.append(number)
                shown = text[: 4 * RAW_CHARS] if len(repaired.numbers) <= MAX_TEXTS else b""
                repaired.texts.append(shown.decode(errors="replace")[:RAW_CHARS])
    return repaired


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends, whichever of the three kinds these are."""
    begun = b""
    while chunk := file.read(CHUNK_BYTES):
        if chunk.endswith(b"\r"):
            chunk += file.read(1)
        first, *others = LINE_END.split(chunk)
        begun += first
        for line in others:
            yield begun
            begun = line
    if begun:
        yield begun


def _records(lines: Iterator[bytes], dialect: Dialect) -> Iterator[tuple[bytes, bool]]:
    """Rows, which may be of several lines, and whether their quotes are in order."""
    quote = dialect.quote.encode()
    whole, unfinished = _patterns(dialect)
    pending: list[bytes] = []
    while (line := pending.pop() if pending else next(lines, None)) is not None:
        if quote not in line or whole.fullmatch(line):
            yield line, True
            continue
        if not unfinished.fullmatch(line):
            yield line, False
            continue
        taken: list[bytes] = []
        text = line
        while len(taken) < MAX_LINES:
            more = pending.pop() if pending else next(lines, None)
            if more is None:
                break
            taken.append(more)
            text += b"\n" + more
            if quote in more and not unfinished.fullmatch(text):
                break
        if whole.fullmatch(text):
            yield text, True
        else:
            yield line, False
            pending.extend(reversed(taken))


def _patterns(dialect: Dialect) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """What a row with its quotes in order looks like, and one that ends within a quoted field."""
    mark, quote, escape = (
        re.escape(sign.encode()) for sign in (dialect.delimiter, dialect.quote, dialect.escape)
    )
    if escape == quote:
        inside = rb"(?:[^%b]|%b%b)*+" % (quote, quote, quote)
    else:
        inside = rb"(?:[^%b%b]|%b.)*+" % (quote, escape, escape)
    quoted = quote + inside + quote
    other = rb"[^%b]*+" % mark if len(dialect.delimiter) == 1 else rb"(?:(?!%b).)*+" % mark
    plain = rb"(?!%b)" % quote + other
    fields = rb"(?:%b|%b)" % (quoted, plain)
    whole = rb"%b(?:%b%b)*+" % (fields, mark, fields)
    unfinished = rb"(?:%b%b)*+%b%b" % (fields, mark, quote, inside)
    return re.compile(whole, re.DOTALL), re.compile(unfinished, re.DOTALL)
