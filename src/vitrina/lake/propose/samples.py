"""A look at a file: its columns, and some thousand values of each."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import narwhals as nw

from vitrina.errors import DataError
from vitrina.lake.engine import LIST_SEPARATOR, ROW, DuckDBEngine
from vitrina.lake.propose.kinds import is_iso, is_number
from vitrina.lake.readers.addresses import find_files
from vitrina.lake.readers.dialect import sniff_dialect
from vitrina.lake.readers.plain import format_of, in_utf8, unpacked
from vitrina.lake.readers.raw import RawTable, Wanted
from vitrina.lake.readers.read import read_files
from vitrina.settings_sources import Source

SAMPLED_ROWS: Final = 20_000
HEAD_BYTES: Final = 32 * 2**20
"""Of a larger text file only the beginning is looked at."""
ENCODING_BYTES: Final = 2**20


@dataclass(frozen=True)
class Column:
    """A column of theirs. values: what the sampled rows have there, nothing left out.

    Texts are without surrounding blanks; empty ones, and null, are None.
    """

    name: str
    dtype: nw.dtypes.DType
    values: list[Any]

    @cached_property
    def given(self) -> list[Any]:
        """The values that are there."""
        return [value for value in self.values if value is not None]

    @cached_property
    def texts(self) -> list[str]:
        """The values that are there, as texts."""
        return [_text(value) for value in self.given]

    @cached_property
    def distinct(self) -> dict[str, int]:
        """How often each value occurs, the commonest first."""
        counts: dict[str, int] = {}
        for text in self.texts:
            counts[text] = counts.get(text, 0) + 1
        return dict(sorted(counts.items(), key=lambda entry: -entry[1]))

    def examples(self, count: int = 3) -> list[str]:
        """The commonest values, as people should see them."""
        return [text.replace(LIST_SEPARATOR, ", ") for text in list(self.distinct)[:count]]


@dataclass(frozen=True)
class Sample:
    """The beginning of a file.

    header: names for its columns, where its first line is no header. unnest: the list of objects
    whose elements are its rows. encoding: of a text file that is not UTF-8.
    """

    address: str
    columns: list[Column]
    header: list[str] | None
    unnest: str | None
    encoding: str | None = None

    def column(self, name: str) -> Column:
        """A column by its name."""
        return next(column for column in self.columns if column.name == name)


def take_sample(engine: DuckDBEngine, address: str) -> Sample:
    """Look at a file; of a folder or a glob, at its first file.

    Raises DataError when it cannot be read.
    """
    first = find_files("files", [Wanted(Source(files=[address]), [])])[0].location
    with tempfile.TemporaryDirectory(prefix="vitrina-look-") as scratch:
        source = Source(files=[first])
        if "://" not in first:
            source = _beginning(Path(first), Path(scratch))
        names = list(source.header or _names(engine, source))
        sample = _read(engine, address, source, names)
        nested = [column.name for column in sample.columns if _is_list_of_objects(column)]
        if nested:
            source = source.model_copy(update={"unnest": nested[0]})
            sample = _read(engine, address, source, _names(engine, source))
    return sample


def _beginning(path: Path, scratch: Path) -> Source:
    """A source of the first rows of a file; the whole file, if it is small or Parquet.

    With what the file itself cannot say: that it has no header, that it is not UTF-8.
    """
    plain = unpacked(path, str(path), scratch / "unpacked")
    kind = format_of(plain, path.name)
    if kind == "parquet":
        named = scratch / "file.parquet"
        named.symlink_to(plain.absolute())
        return Source(files=[str(named)])
    plain = in_utf8(plain, str(path), scratch / "text", None)
    with plain.open("rb") as whole:
        head = whole.read(HEAD_BYTES + 1)
    if len(head) > HEAD_BYTES:
        head = head.rpartition(b"\n")[0]
    encoding = _encoding(head)
    named = scratch / f"file.{kind}"
    named.write_bytes(
        head.decode(encoding or "utf-8", errors="surrogateescape").encode(errors="surrogateescape")
    )
    source = Source(files=[str(named)])
    if kind == "csv" and head.strip():
        first = sniff_dialect(named, str(path), source).header
        if _looks_like_values(first):
            header = [f"column_{place}" for place in range(1, len(first) + 1)]
            source = source.model_copy(update={"header": header})
    return source.model_copy(update={"encoding": encoding})


def _encoding(head: bytes) -> str | None:
    """cp1252 (Western Europe's before UTF-8) if more lines are no UTF-8 than are, else None."""
    beyond_ascii = [line for line in head[:ENCODING_BYTES].split(b"\n")[:-1] if not line.isascii()]
    bad = 0
    for line in beyond_ascii:
        try:
            line.decode()
        except UnicodeDecodeError:
            bad += 1
    return "cp1252" if bad > len(beyond_ascii) - bad else None


def _names(engine: DuckDBEngine, source: Source) -> list[str]:
    """The columns of a file: all of them are ignored where nothing is wanted."""
    return [name for name in _raw(engine, source, []).ignored if name]


def _raw(engine: DuckDBEngine, source: Source, columns: Sequence[str]) -> RawTable:
    """The rows of one file. Raises DataError when it cannot be read."""
    # The beginning lies here as UTF-8, whatever the file is.
    wanted = [Wanted(source.model_copy(update={"encoding": None}), columns)]
    raw = read_files(engine, find_files("files", wanted), wanted)
    if not raw.frames:
        raise DataError(raw.unusable[0].reason)
    return raw


def _read(engine: DuckDBEngine, address: str, source: Source, names: list[str]) -> Sample:
    frame = next(iter(_raw(engine, source, names).frames.values()))
    types = frame.collect_schema()
    table = engine.collect(frame.sort(ROW).head(SAMPLED_ROWS))
    columns = [
        Column(name, types[name], [_cleaned(value) for value in table[name].to_pylist()])
        for name in names
        if name in types
    ]
    if not columns:
        raise DataError(f"{address} has no columns. Name a file with items or events.")
    return Sample(address, columns, source.header, source.unnest, source.encoding)


def _looks_like_values(names: Sequence[str]) -> bool:
    """Whether the line that should name the columns holds numbers or moments instead."""
    values = sum(is_number(name.strip()) or is_iso(name.strip()) for name in names)
    return values >= max(1, len(names) / 3)


def _is_list_of_objects(column: Column) -> bool:
    """Whether a column of JSON has several objects in one value: rows of their own."""
    return any(
        text.startswith("{") and f"}}{LIST_SEPARATOR}{{" in text for text in column.texts[:1000]
    )


def _cleaned(value: Any) -> Any:
    return (value.strip() or None) if isinstance(value, str) else value


def _text(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
