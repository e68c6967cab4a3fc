"""DuckDB: the embedded engine, in one process."""

from __future__ import annotations

import errno
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

from vitrina.errors import EngineError, UnreadableFile
from vitrina.lake.engine.base import LIST_SEPARATOR, ROW, Frame
from vitrina.lake.engine.files import aside_of, move_into_place, remove
from vitrina.lake.engine.parts import write_parts

MEMORY_GB: Final = 2.5
"""DuckDB's share of memory; what does not fit goes to a temporary folder on disk."""

BATCH_ROWS: Final = 200_000

PLAIN: Final = (
    *(nw.String, nw.Boolean, nw.Date, nw.Datetime, nw.Float32, nw.Float64),
    *(nw.Int8, nw.Int16, nw.Int32, nw.Int64),
)
"""Types that all engines have. Decimals are not among them: engines round them differently."""

# What is left of a JSON text without its strings: DuckDB takes a comma after the last element
# and numbers that are none for JSON, and other readers do not.
_STRINGS: Final = r'"([^"\\]|\\.)*"'
_LENIENT: Final = r",[ \t\r\n]*[}\]]|[iI][nN][fF]|[nN][aA][nN]"


class DuckDBEngine:
    """A DuckDB with bounded memory, in UTC; an `Engine`.

    memory_gb: what does not fit goes to a temporary folder on disk. What is kept goes there in any
    case: DuckDB compresses the tables of a file, and not those in memory, where each null takes as
    much as a short text.
    """

    def __init__(self, memory_gb: float = MEMORY_GB) -> None:
        self._spill = tempfile.TemporaryDirectory(prefix="vitrina-lake-")
        self.connection = duckdb.connect(
            Path(self._spill.name) / "kept.duckdb",
            config={
                "memory_limit": f"{memory_gb}GB",
                "threads": len(os.sched_getaffinity(0)),
                "temp_directory": self._spill.name,
                # The file is gone when the engine closes: nothing has to outlive it.
                "checkpoint_threshold": "1TB",
            },
        )
        self.connection.execute("PRAGMA disable_checkpoint_on_shutdown")
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

    @property
    def landing(self) -> DuckDBEngine:
        return self

    def adopt(self, frame: Frame) -> Frame:
        return frame

    def run(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute SQL and return its rows; for readers and data sets only."""
        with _failures():
            return self.connection.execute(sql, list(parameters)).fetchall()

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Frame:
        """A lazy frame over a SQL query; for readers and data sets only."""
        return nw.from_native(self.connection.sql(sql, params=list(parameters)))

    def scan_parquet(self, paths: Sequence[Path]) -> Frame:
        names = [literal(path) for path in paths]
        with _readable(paths):
            return nw.from_native(self.connection.read_parquet(names, hive_partitioning=False))

    def scan_source(self, path: Path) -> Frame:
        with _readable([path]):
            schema = self.scan_parquet([path]).collect_schema()
            values = ", ".join(_plain(name, dtype) for name, dtype in schema.items())
            return self.query(
                f"SELECT file_row_number + 1 AS {ROW}, {values} "
                "FROM read_parquet(?, file_row_number = true)",
                [literal(path)],
            )

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        return nw.from_native(self.connection.from_arrow(pa.table(dict(columns))))

    def mark_json_objects(self, frame: Frame, column: str, mark: str) -> Frame:
        is_object = json_object_sql(column)
        relation: duckdb.DuckDBPyRelation = frame.to_native()
        return nw.from_native(
            relation.select(duckdb.StarExpression(), duckdb.SQLExpression(is_object).alias(mark))
        )

    def add_md5(self, frame: Frame, column: str, into: str) -> Frame:
        relation: duckdb.DuckDBPyRelation = frame.to_native()
        digest = duckdb.FunctionExpression("md5", duckdb.ColumnExpression(column)).alias(into)
        return nw.from_native(relation.select(duckdb.StarExpression(), digest))

    def persist(self, frame: Frame) -> Frame:
        name = self.new_name()
        with _failures():
            frame.to_native().create(name)
        return nw.from_native(self.connection.table(name))

    def arrange(self, frame: Frame, order: Sequence[str]) -> Frame:
        return self.persist(frame.sort(*order))

    def previous(self, arranged: Frame, order: Sequence[str], columns: Mapping[str, str]) -> Frame:
        whose = identifier(order[0])
        return _added(
            arranged,
            {
                into: f"CASE WHEN lag({whose}) OVER () = {whose} "
                f"THEN lag({identifier(column)}) OVER () END"
                for into, column in columns.items()
            },
        )

    def latest(self, arranged: Frame, order: Sequence[str], column: str, into: str) -> Frame:
        whose, value = identifier(order[0]), identifier(column)
        theirs = f"CASE WHEN {value} IS NOT NULL THEN {whose} END"
        last, of = (
            f"last_value({what} IGNORE NULLS) OVER (ROWS UNBOUNDED PRECEDING)"
            for what in (value, theirs)
        )
        return _added(arranged, {into: f"CASE WHEN {of} = {whose} THEN {last} END"})

    def shared(self, arranged: Frame) -> Frame:
        return arranged  # to keep the rows costs four times the windows that made them

    def in_order(self, arranged: Frame, order: Sequence[str]) -> Frame:
        return arranged

    def new_name(self) -> str:
        """A table name not used before in this engine."""
        self._tables += 1
        return f"kept_{self._tables}"

    def collect(self, frame: Frame) -> pa.Table:
        with _failures():
            table: pa.Table = frame.collect(backend="pyarrow").to_native()
        return table

    def batches(self, frame: Frame) -> Iterator[pa.RecordBatch]:
        with _failures():
            yield from frame.to_native().to_arrow_reader(BATCH_ROWS)

    def write_parquet(self, frame: Frame, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = aside_of(path)
        try:
            with _failures():
                frame.to_native().write_parquet(str(aside), compression="zstd")
            move_into_place(aside, path)
        finally:
            remove(aside)

    def write_parts(
        self, frame: Frame, column: str, paths: Mapping[int, Path], words: Mapping[str, Frame]
    ) -> None:
        texts = {
            name: self.collect(each.sort("place"))["text"].combine_chunks()
            for name, each in words.items()
        }
        asides = {value: aside_of(path) for value, path in paths.items()}
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_parts(self.batches(frame), column, asides, texts)
            for value, aside in asides.items():
                if aside.exists():
                    move_into_place(aside, paths[value])
        finally:
            for aside in asides.values():
                remove(aside)


def _added(arranged: Frame, columns: Mapping[str, str]) -> Frame:
    """The rows with more columns, of SQL over windows that have no order of their own.

    DuckDB computes such windows as it goes, in the order of the rows: several times faster than
    windows that sort, be the rows sorted already or not. Tables keep the order they were made in.
    """
    relation: duckdb.DuckDBPyRelation = arranged.to_native()
    values = [duckdb.SQLExpression(sql).alias(into) for into, sql in columns.items()]
    return nw.from_native(relation.select(duckdb.StarExpression(), *values))


def json_object_sql(column: str) -> str:
    """Whether the text in a column is a JSON object, in DuckDB's SQL; null for null."""
    bare = f"regexp_replace({column}, '{_STRINGS}', '', 'g')"
    return (
        f"CASE WHEN {column} IS NULL THEN NULL WHEN json_valid({column}) "
        f"THEN json_type({column}) = 'OBJECT' AND NOT regexp_matches({bare}, '{_LENIENT}') "
        "ELSE false END"
    )


def literal(path: Path) -> str:
    """A path in which DuckDB finds no glob: `events[1].csv` is one file."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _plain(name: str, dtype: nw.dtypes.DType) -> str:
    """A column of a foreign Parquet file in SQL, as `Engine.scan_source` has it."""
    column = identifier(name)
    if isinstance(dtype, nw.List | nw.Array):
        element = "to_json(element)" if dtype.inner.is_nested() else "element"
        texts = f"list_transform({column}, lambda element: CAST({element} AS VARCHAR))"
        return f"array_to_string({texts}, '{LIST_SEPARATOR}') AS {column}"
    if dtype.is_nested():
        return f"CAST(to_json({column}) AS VARCHAR) AS {column}"
    if isinstance(dtype, nw.Datetime) and dtype.time_unit != "us":
        return f"CAST({column} AS TIMESTAMP) AS {column}"
    if isinstance(dtype, nw.UInt8 | nw.UInt16 | nw.UInt32):
        return f"CAST({column} AS BIGINT) AS {column}"
    return column if isinstance(dtype, PLAIN) else f"CAST({column} AS VARCHAR) AS {column}"


def identifier(name: str) -> str:
    """A column's name as SQL quotes it."""
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


@contextmanager
def _readable(paths: Sequence[Path]) -> Iterator[None]:
    try:
        with _ctrl_c():
            yield
    except (duckdb.Error, OSError) as error:
        shown = ", ".join(map(str, paths[:3])) + (" …" if len(paths) > 3 else "")
        raise UnreadableFile(f"{shown} is not readable Parquet: {first_line(error)}") from error


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong in a computation: the fault of a file, or of this machine."""
    with _ctrl_c():
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise EngineError(
                f"DuckDB ran out of memory, or of disk to spill to: {first_line(error)}. Raise "
                "memory_gb in [lake] of vitrina.toml, or free some of either."
            ) from error
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise EngineError(
                    "The disk is full: there is no room left for the tables, or for what does not "
                    f"fit into memory ({tempfile.gettempdir()}). Make room, and try again."
                ) from error
            raise UnreadableFile(first_line(error)) from error


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
