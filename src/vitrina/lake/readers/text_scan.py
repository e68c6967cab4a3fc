"""A look at a text file's bytes before it is parsed: its line ends, its blank lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class LineEnds:
    """mixed: more than one kind of line end (\\n, \\r\\n, \\r), in quoted fields or between rows.

    blank: there are lines without a character.
    """

    mixed: bool
    blank: bool


def scan_line_ends(path: Path) -> LineEnds:
    """Read the file once, at the speed of memory."""
    returns = feeds = both = 0
    blank, tail = False, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            if tail.endswith(b"\r") and chunk.startswith(b"\n"):
                both += 1
            feeds += chunk.count(b"\n")
            found = chunk.count(b"\r")
            if found:
                returns += found
                both += chunk.count(b"\r\n")
            if not blank:
                seam = tail + chunk
                blank = b"\n\n" in seam or (found > 0 and (b"\n\r" in seam or b"\r\r" in seam))
            tail = chunk[-2:]
    return LineEnds(mixed=both < max(returns, feeds) and returns > 0, blank=blank)
