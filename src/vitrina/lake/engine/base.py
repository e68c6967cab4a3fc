"""What the lake asks of an engine: small, so that a pipeline knows no engine.

Every transformation of the lake is a Narwhals expression on a `Frame`. What engines do
differently is behind this protocol; outside of this package nothing asks which engine it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import narwhals as nw

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

    from vitrina.lake.engine.duckdb import DuckDBEngine

Frame = nw.LazyFrame[Any]

ROW: Final = "_row"
"""int64: a row's number in its file, from 1."""

LIST_SEPARATOR: Final = "\x1f"
"""Between the elements of a list (of texts, numbers …) that became one text: ASCII's own sign."""


def frame_name(name: str) -> str:
    """A name that every engine's frames can carry, for a column that a file calls `name`.

    Dots and backticks have a meaning of their own in Spark's column names; signs that look like
    them have none.
    """
    return name.translate(_LOOKALIKES)


_LOOKALIKES: Final = str.maketrans(
    {".": "\N{ONE DOT LEADER}", "`": "\N{MODIFIER LETTER GRAVE ACCENT}"}
)


class Engine(Protocol):
    """Scans, keeps, collects and writes lazy frames; a context manager.

    Frames of one engine may be joined with one another and with no other engine's. Both engines
    have moments in microseconds: `Datetime("us")` is one without zone, `Datetime("us", "UTC")`
    a moment in UTC.

    Whatever computes a frame raises `UnreadableFile` when a source file turns out to be damaged
    and `EngineError` when the engine itself fails (a lost executor, no memory, a full disk).
    """

    @property
    def landing(self) -> DuckDBEngine:
        """The DuckDB of this process. Text formats, databases and object stores are read here
        whatever the engine, so that their quirks are the same on all of them; `adopt` what was
        read."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def adopt(self, frame: Frame) -> Frame:
        """A frame of `landing` as a frame of this engine."""

    def scan_parquet(self, paths: Sequence[Path]) -> Frame:
        """Parquet files of one schema, lazily, as one frame.

        Raises UnreadableFile, naming the file, if one cannot be read.
        """

    def scan_source(self, path: Path) -> Frame:
        """A Parquet file that was made elsewhere, and the number of each row (ROW).

        Its columns have their own names, or their `frame_name`s.

        Texts, booleans, signed integers, floats, dates and timestamps (to the microsecond) keep
        their types. A list becomes one text, its elements joined by LIST_SEPARATOR, any other
        nested value its JSON text, and a value of any other type (decimals, binary, time of
        day …) its text. Raises UnreadableFile if it cannot be read.
        """

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        """A small frame from equally long sequences or NumPy arrays, by name."""

    def mark_json_objects(self, frame: Frame, column: str, mark: str) -> Frame:
        """Add the boolean column `mark`: whether the text in `column` is a JSON object (RFC 8259).

        Null where the text is null. Narwhals has no expression for it.
        """

    def add_md5(self, frame: Frame, column: str, into: str) -> Frame:
        """Add the column `into`: the MD5 of the text in `column` (UTF-8) in lower-case hex.

        Narwhals has no expression for it.
        """

    def persist(self, frame: Frame) -> Frame:
        """Compute a frame once and keep it until the engine closes."""

    def arrange(self, frame: Frame, order: Sequence[str]) -> Frame:
        """Compute a frame once, in an order, for `previous` and `latest`; kept as by `persist`.

        order: columns without nulls in which no two rows are alike. The first one says which rows
        belong together.
        """

    def previous(self, arranged: Frame, order: Sequence[str], columns: Mapping[str, str]) -> Frame:
        """Add columns (name -> column) with the values of the row before.

        Null in the first of the rows that belong together. arranged: by `arrange` in `order`;
        since then, columns may have been added and rows left out, and nothing joined.
        """

    def latest(self, arranged: Frame, order: Sequence[str], column: str, into: str) -> Frame:
        """Add the column `into`: the last value of `column` that is not null, up to each row.

        Null where none of the rows that belong together has one yet. arranged: as of `previous`.
        """

    def shared(self, arranged: Frame) -> Frame:
        """What `previous` and `latest` have added, for several to compute with.

        Kept, unless to compute it again costs less than to keep it. arranged: as of `previous`.
        """

    def in_order(self, arranged: Frame, order: Sequence[str]) -> Frame:
        """The rows, for `batches`, in the order they were arranged in. arranged: as of `previous`.

        order: what they were arranged by, or the first columns of it.
        """

    def collect(self, frame: Frame) -> pa.Table:
        """Compute a frame into memory, as an Arrow table."""

    def batches(self, frame: Frame) -> Iterator[pa.RecordBatch]:
        """Compute a frame and hand out its rows in its order, never all of them at once.

        Compute nothing else with this engine before the last batch is taken.
        """

    def write_parquet(self, frame: Frame, path: Path) -> None:
        """Write a frame under `path`: complete, or absent.

        One file or a folder of files, as the engine likes: `partitions.parquet_files` finds them.
        """

    def write_parts(
        self, frame: Frame, column: str, paths: Mapping[int, Path], words: Mapping[str, Frame]
    ) -> None:
        """Write the rows of each value of `column`, and without it, under a path, as
        `write_parquet` does.

        column: an integer. paths: of its values; the rows of others are not written. words: of
        columns with numbers in place of texts, `place` (the numbers from 0, of the columns' type)
        and `text`: what is written. Moments without zone are UTC, and written as such.
        """
