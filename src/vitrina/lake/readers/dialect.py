"""The dialect of a CSV file: delimiter, quoting, comments before the header, column names.

It is read off the file's beginning. Each delimiter is tried; the best is the one whose rows agree
most on how many fields they have, among those that split the first row into the most.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitrina.errors import DataError
from vitrina.settings_sources import Source

SAMPLE_BYTES: Final = 2**20
SAMPLE_LINES: Final = 1000
SAMPLE_CHARS: Final = 2**16
"""Of one line; the csv module takes no field of twice that length."""
DELIMITERS: Final = (",", ";", "\t", "|", "::", "\x01")
COMMENT: Final = "#"
EXCEL: Final = re.compile(r"sep=(.)", re.IGNORECASE)
"""A first line by which a spreadsheet is told the delimiter."""
LINE_END: Final = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file's lines are split.

    quote: "" where there are none. escape: what stands before a quote that is part of a quoted
    field: the quote itself, or a backslash. skip: lines before the first row. header: the names
    of the columns, in order.
    """

    delimiter: str
    quote: str
    escape: str
    skip: int
    header: tuple[str, ...]


LINES: Final = Dialect(delimiter="\x01", quote="", escape="", skip=0, header=("line",))
"""Every line a row of one field: JSON escapes control characters, so it never holds this one."""


def sniff_dialect(path: Path, address: str, source: Source) -> Dialect:
    """The dialect of a UTF-8 file; what `source` says of it goes before what it looks like.

    Raises DataError when the file does not begin with a header line, and `source` gives no names.
    """
    lines = _first_lines(path, address)
    start = _start(lines, source)
    delimiter = source.delimiter
    if start and (told := EXCEL.fullmatch(lines[start - 1].strip())):
        delimiter = delimiter or told[1]
    rows = lines[start:]
    if not rows and source.header is None:
        raise DataError(f"{address} has no header line. Write the column names there.")
    candidates = (delimiter,) if delimiter else DELIMITERS
    quote = _quote(rows, candidates)
    delimiter = max(candidates, key=lambda each: _fit(rows, each, quote, source.header))
    escape = _escape(rows, quote, delimiter)
    if source.header is not None:
        return Dialect(delimiter, quote, escape, start, tuple(source.header))
    header = [name.strip() for name in split_line(rows[0], delimiter, quote)]
    if "\0" in rows[0]:
        raise DataError(
            f"{address} is not UTF-8 text. Name its 'encoding' (utf-16-le …) in vitrina.toml, or "
            "save it as UTF-8."
        )
    if not any(header):
        raise DataError(
            f"{address} does not begin with a header line. Write the column names there, or name "
            "them in vitrina.toml ('header' of the source)."
        )
    return Dialect(delimiter, quote, escape, start + 1, tuple(header))


def split_line(line: str, delimiter: str, quote: str) -> list[str]:
    """The fields of one line."""
    if len(delimiter) > 1:
        # The csv module knows delimiters of one character; this one is for private use.
        line, delimiter = line.replace(delimiter, "\ue000"), "\ue000"
    if not quote:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, quotechar=quote), [""])


def _first_lines(path: Path, address: str) -> list[str]:
    """The first complete lines, blank ones as "". Raises DataError if they are no UTF-8 text."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
        complete = not file.read(1)
    # What is broken in a row costs that row; in the header, it costs the file.
    text = sample.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    lines = LINE_END.split(text)
    if (complete and not lines[-1]) or (not complete and len(lines) > 1):
        lines.pop()
    first = next((line for line in lines if line and not line.startswith(COMMENT)), "")
    try:
        first.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{address}: its first line is not UTF-8. Save the file as UTF-8, or name its "
            "'encoding' (latin-1, cp1252 …) in vitrina.toml."
        ) from error
    return [line[:SAMPLE_CHARS] for line in lines[:SAMPLE_LINES]]


def _start(lines: Sequence[str], source: Source) -> int:
    """How many lines come before the first row or the header: comments, blank lines, `sep=;`."""
    for place, line in enumerate(lines):
        comment = line.startswith(COMMENT)
        if comment and source.header is not None:
            # Without a header line, only what cannot be a row is a comment.
            delimiters = (source.delimiter,) if source.delimiter else DELIMITERS
            widths = {line.count(delimiter) + 1 for delimiter in delimiters}
            comment = len(source.header) not in widths
        if line.strip() and not comment and not (place == 0 and EXCEL.fullmatch(line.strip())):
            return place
    return len(lines)


def _fit(
    rows: Sequence[str], delimiter: str, quote: str, header: Sequence[str] | None
) -> tuple[bool, int, float]:
    """How well a delimiter splits the rows; larger is better."""
    counts = [len(split_line(row, delimiter, quote)) for row in rows if row]
    if header is not None:
        agreeing = counts.count(len(header))
        return agreeing > 0, agreeing, 0.0
    width = counts[0] if counts else 1
    share = counts.count(width) / max(1, len(counts))
    return width > 1 and share > 0.5, width, share


def _quote(rows: Sequence[str], delimiters: Sequence[str]) -> str:
    """The sign around more fields; double quotes where there are none.

    No sign at all where fields begin with double quotes and none ends with them.
    """
    whole = {quote: _count(rows, quote, _field(quote, delimiters)) for quote in "\"'"}
    begun = {quote: _count(rows, quote, _begin(delimiters) + quote) for quote in "\"'"}
    if whole["'"] > max(whole['"'], begun["'"] - whole["'"]):
        return "'"
    ended = _count(rows, '"', '"' + _end(delimiters))
    return "" if begun['"'] and not ended else '"'


def _escape(rows: Sequence[str], quote: str, delimiter: str) -> str:
    """A backslash where quotes inside of quoted fields follow one more often than a quote."""
    if not quote:
        return ""
    inside = rf"(?!{re.escape(delimiter)}|$)"
    backslashes = _count(rows, quote, rf"\\{quote}{inside}")
    doubled = _count(rows, quote, rf"(?<!^)(?<!{re.escape(delimiter)}){quote}{quote}{inside}")
    return "\\" if backslashes > doubled else quote


def _count(rows: Sequence[str], quote: str, pattern: str) -> int:
    compiled = re.compile(pattern)
    return sum(len(compiled.findall(row)) for row in rows if quote in row)


def _begin(delimiters: Sequence[str]) -> str:
    """Where a field begins."""
    return f"(?:^|{'|'.join(f'(?<={re.escape(each)})' for each in delimiters)})"


def _end(delimiters: Sequence[str]) -> str:
    """Where a field ends."""
    return f"(?={'|'.join(map(re.escape, delimiters))}|$)"


def _field(quote: str, delimiters: Sequence[str]) -> str:
    """A field within quotes."""
    return f"{_begin(delimiters)}{quote}[^{quote}]*{quote}{_end(delimiters)}"
