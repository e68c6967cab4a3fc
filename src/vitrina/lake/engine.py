"""The lake's engine: where lazy frames are scanned, kept, collected and written.

Every transformation of the lake is a Narwhals expression on a `LazyFrame` and knows no engine.
What an engine does differently from another is here: DuckDB, embedded, in one process.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import narwhals as nw
import pyarrow as pa  # type: ignore[import-untyped]

from vitrina.errors import DataError

Frame = nw.LazyFrame[Any]

MEMORY_LIMIT: Final = "2500MB"
"""DuckDB's share of memory; what does not fit goes to a temporary folder on disk."""


class DuckDBEngine:
    """An in-memory DuckDB with bounded memory, in UTC. Use it as a context manager.

    Frames of one engine may be joined with one another and with no other engine's.
    """

    def __init__(self) -> None:
        self._spill = tempfile.TemporaryDirectory(prefix="vitrina-lake-")
        self.connection = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": len(os.sched_getaffinity(0)),
                "temp_directory": self._spill.name,
            }
        )
        self.connection.execute("SET TimeZone = 'UTC'")
        # Progress is told by whoever calls the engine, in stages.
        self.connection.execute("SET enable_progress_bar = false")
        self._tables = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()
        self._spill.cleanup()

    def run(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute SQL and return its rows; for readers and data sets only."""
        with _ctrl_c():
            return self.connection.execute(sql, list(parameters)).fetchall()

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Frame:
        """A lazy frame over a SQL query; for readers and data sets only."""
        return nw.from_native(self.connection.sql(sql, params=list(parameters)))

    def scan_parquet(self, paths: Sequence[Path]) -> Frame:
        """Parquet files of one schema, lazily. Raises DataError if they cannot be read."""
        names = [literal(path) for path in paths]
        try:
            return nw.from_native(self.connection.read_parquet(names, hive_partitioning=False))
        except (duckdb.Error, OSError) as error:
            raise DataError(
                f"{paths[0]} is not a readable Parquet file: {first_line(error)}"
            ) from error

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        """A small frame from equally long sequences or NumPy arrays, by name."""
        return nw.from_native(self.connection.from_arrow(pa.table(dict(columns))))

    def mark_json_objects(self, frame: Frame, column: str, mark: str) -> Frame:
        """Add the boolean column `mark`: whether the text in `column` is a JSON object.

        Here and not among the transformations, for Narwhals has no expression for it.
        """
        is_object = f"CASE WHEN json_valid({column}) THEN json_type({column}) = 'OBJECT' END"
        relation: duckdb.DuckDBPyRelation = frame.to_native()
        return nw.from_native(
            relation.select(duckdb.StarExpression(), duckdb.SQLExpression(is_object).alias(mark))
        )

    def persist(self, frame: Frame) -> Frame:
        """Compute a frame once and keep it until the engine closes."""
        name = self.new_name()
        with _ctrl_c():
            frame.to_native().create(name)
        return nw.from_native(self.connection.table(name))

    def new_name(self) -> str:
        """A table name not used before in this engine."""
        self._tables += 1
        return f"kept_{self._tables}"

    def collect(self, frame: Frame) -> pa.Table:
        """Compute a frame into memory, as an Arrow table."""
        with _ctrl_c():
            table: pa.Table = frame.collect(backend="pyarrow").to_native()
        return table

    def write_parquet(self, frame: Frame, path: Path) -> None:
        """Write a frame to one file: complete under its name, or absent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with _ctrl_c():
                frame.to_native().write_parquet(str(aside), compression="zstd")
            with aside.open("rb") as written:
                os.fsync(written.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def literal(path: Path) -> str:
    """A path in which DuckDB finds no glob: `events[1].csv` is one file."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """DuckDB turns Ctrl-C into an error of its own; nobody may take it for a fault of the data."""
    try:
        yield
    except RuntimeError as error:
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from error
        raise


def first_line(error: BaseException) -> str:
    """The first line of a library's message: the part that says what was found."""
    return str(error).strip().partition("\n")[0]
