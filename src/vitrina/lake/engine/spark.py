"""Spark: the distributed engine, on this machine, on a cluster, or behind Spark Connect."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import narwhals as nw
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from vitrina.errors import EngineError, MissingExtra, UnreadableFile, VitrinaError
from vitrina.lake.engine.base import ROW, Frame, frame_name
from vitrina.lake.engine.duckdb import DuckDBEngine, first_line, identifier, json_object_sql
from vitrina.lake.engine.files import aside_of, move_into_place, remove
from vitrina.lake.engine.java import use_java
from vitrina.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

QUIET_LOG: Final = Path(__file__).with_name("log4j2.properties")

SCRATCH: Final = ".tables-scratch-"
"""Prefix of the folder in the lake where frames are kept until the engine closes. It begins like
an unfinished set of tables: what a killed driver left is removed by the next run (`tables`)."""

DAMAGE: Final = ("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER")
"""Spark's names for the errors that are a source file's fault."""

PLAIN: Final = (
    *(pa.string(), pa.large_string(), pa.bool_(), pa.date32(), pa.float32(), pa.float64()),
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
)
"""Types, besides timestamps, of Parquet columns that Spark scans itself."""

CONNECT_PORT: Final = 15002
CONNECT_SECONDS: Final = 30.0

MAX_CAUSE: Final = 300
"""Characters of a Java message that an error keeps."""

SAME_AS_DUCKDB: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",  # a datetime without zone stays without
    "spark.sql.ansi.enabled": "false",  # patterns guard casts; rows must not end the run
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
"""What a session needs for the answers, and the files, that DuckDB gives."""


class SparkEngine:
    """A Spark session and a scratch folder in the lake; an `Engine`.

    Frames are kept as Parquet in the scratch folder rather than in Spark's cache: what was
    computed once survives the loss of an executor, and takes disk instead of memory.

    Uses the process's running session if there is one and leaves it running; starts one
    otherwise. Raises MissingExtra without pyspark or Java, EngineError when Spark does not start.
    """

    def __init__(self, settings: Settings) -> None:
        self._session, self._started = _open_session(settings)
        self._lake = settings.paths.lake
        self._scratch: Path | None = None
        self._landing = DuckDBEngine(settings.lake.memory_gb)
        self._kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._landing.__exit__(kind, error, trace)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._started:
            with suppress(Exception):  # what has died cannot be stopped
                self._session.stop()
        if isinstance(error, (ConnectionError, *_spark_errors())):
            # Spark is asked wherever a frame is built, too, not only where jobs run.
            raise EngineError(
                f"Spark could not finish: {_cause(str(error))}. If its process is gone, the "
                "machine may have run out of memory: lower memory_gb in [lake] of vitrina.toml."
            ) from error

    @property
    def landing(self) -> DuckDBEngine:
        return self._landing

    def adopt(self, frame: Frame) -> Frame:
        path = self._new_path()
        self._landing.write_parquet(frame, path)
        return self.scan_parquet([path])

    def scan_parquet(self, paths: Sequence[Path]) -> Frame:
        return self._frame(self._read(paths))

    def scan_source(self, path: Path) -> Frame:
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableFile(f"{path} is not readable Parquet: {first_line(error)}") from error
        if not all(_is_plain(field.type) for field in schema):
            landed = self._landing.scan_source(path)
            names = landed.collect_schema().names()
            return self.adopt(landed.select(**{frame_name(name): nw.col(name) for name in names}))
        from pyspark.sql import functions

        rows = self._read([path]).select("*", "_metadata.row_index")
        numbered = (rows["row_index"] + 1).alias(ROW)
        columns = (
            functions.col(f"`{name.replace('`', '``')}`").alias(frame_name(name))
            for name in schema.names
        )
        return self._frame(rows.select(numbered, *columns))

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        path = self._new_path()
        pq.write_table(pa.table(dict(columns)), path)
        return self.scan_parquet([path])

    def mark_json_objects(self, frame: Frame, column: str, mark: str) -> Frame:
        # DuckDB on every executor, a batch of rows at a time: one judge for both engines.
        from pyspark.sql.types import BooleanType, StructField, StructType

        rows: DataFrame = frame.to_native()
        judge = _json_judge(json_object_sql(identifier(column)), mark)
        schema = StructType([*rows.schema.fields, StructField(mark, BooleanType())])
        return self._frame(rows.mapInArrow(judge, schema))

    def add_md5(self, frame: Frame, column: str, into: str) -> Frame:
        from pyspark.sql import functions

        rows: DataFrame = frame.to_native()
        return self._frame(rows.withColumn(into, functions.md5(column)))

    def persist(self, frame: Frame) -> Frame:
        path = self._new_path()
        self._write(frame, path)
        return self.scan_parquet([path])

    def arrange(self, frame: Frame, order: Sequence[str]) -> Frame:
        # Spark sorts what belongs together wherever it looks at the row before, and never all.
        return self.persist(frame)

    def previous(self, arranged: Frame, order: Sequence[str], columns: Mapping[str, str]) -> Frame:
        whose, *by = order
        return arranged.with_columns(
            nw.col(column).shift(1).over(whose, order_by=by).alias(into)
            for into, column in columns.items()
        )

    def latest(self, arranged: Frame, order: Sequence[str], column: str, into: str) -> Frame:
        whose, *by = order
        value = nw.col(column).fill_null(strategy="forward")
        return arranged.with_columns(value.over(whose, order_by=by).alias(into))

    def shared(self, arranged: Frame) -> Frame:
        return self.persist(arranged)

    def in_order(self, arranged: Frame, order: Sequence[str]) -> Frame:
        return arranged.sort(*order)

    def collect(self, frame: Frame) -> pa.Table:
        with _failures():
            table: pa.Table = frame.collect(backend="pyarrow").to_native()
        return table

    def batches(self, frame: Frame) -> Iterator[pa.RecordBatch]:
        # The files of a sorted frame are in order by name.
        path = self._new_path()
        self._write(frame, path)
        for file in sorted(path.glob("*.parquet")):
            yield from pq.ParquetFile(file).iter_batches()
        remove(path)

    def write_parquet(self, frame: Frame, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = aside_of(path)
        try:
            self._write(frame, aside)
            for leftover in (*aside.rglob("_SUCCESS"), *aside.rglob(".*.crc")):
                leftover.unlink()
            move_into_place(aside, path)
        finally:
            remove(aside)

    def write_parts(
        self, frame: Frame, column: str, paths: Mapping[int, Path], words: Mapping[str, Frame]
    ) -> None:
        for name, texts in words.items():
            texts = texts.select(nw.col("place").alias(name), _text="text")
            frame = frame.join(texts, on=name, how="left")
            frame = frame.with_columns(nw.col("_text").alias(name)).drop("_text")
        utc = nw.Datetime("us", "UTC")
        frame = frame.with_columns(
            nw.col(name).cast(utc)
            for name, dtype in frame.collect_schema().items()
            if isinstance(dtype, nw.Datetime)
        )
        # One after the other: each is spread over the tasks, while a partitioned write would make
        # a file of each task for each part.
        for value, path in paths.items():
            self.write_parquet(frame.filter(nw.col(column) == value).drop(column), path)

    def _write(self, frame: Frame, path: Path) -> None:
        rows: DataFrame = frame.to_native()
        with _failures():
            rows.write.parquet(str(path.absolute()))

    def _read(self, paths: Sequence[Path]) -> DataFrame:
        with _failures():
            reader = self._session.read.option("recursiveFileLookup", "true")
            return reader.parquet(*(_literal(path) for path in paths))

    def _frame(self, rows: DataFrame) -> Frame:
        return nw.from_native(rows)

    def _new_path(self) -> Path:
        if self._scratch is None:  # not before it is needed: by then the run has the lake's lock
            self._lake.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self._lake.resolve()))
        self._kept += 1
        return self._scratch / f"{self._kept}.parquet"


def _json_judge(sql: str, mark: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """A function from Arrow batches to the same ones with a boolean column, by DuckDB's SQL.

    It runs on the executors. As a closure it travels whole: they need pyarrow and duckdb, but
    not Vitrina.
    """

    def judge(batches: Iterator[Any]) -> Iterator[Any]:
        import duckdb
        import pyarrow

        with duckdb.connect(config={"threads": 1}) as connection:
            for batch in batches:
                rows = connection.from_arrow(pyarrow.Table.from_batches([batch]))
                marked = rows.select(duckdb.SQLExpression(sql).alias(mark)).to_arrow_table()
                yield batch.append_column(mark, marked[mark].combine_chunks())

    return judge


def _open_session(settings: Settings) -> tuple[SparkSession, bool]:
    """A session, and whether it was started for this call."""
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise MissingExtra("pyspark", "spark") from error
    # What Vitrina uses of PySpark does not touch pandas.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    running = SparkSession.getActiveSession()
    try:
        session = running or _start_session(settings)
        for name, value in SAME_AS_DUCKDB.items():
            session.conf.set(name, value)
    except ImportError as error:
        raise MissingExtra("grpcio", "spark") from error
    except VitrinaError:
        raise
    except Exception as error:
        where = settings.spark.remote or settings.spark.master or "on this machine"
        raise EngineError(
            f"Spark did not start ({where}): {_cause(str(error))}. Check master and remote in "
            "[spark] of vitrina.toml."
        ) from error
    return session, running is None


def _start_session(settings: Settings) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("vitrina")
    if settings.spark.remote is not None:
        # Our plans are nested deeper than protobuf's compiled reader allows; its Python one has
        # no such limit. It has to be chosen before protobuf is first imported.
        os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
        _reach(settings.spark.remote)
        return builder.remote(settings.spark.remote).getOrCreate()
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit has started Java, with its settings
        use_java()
        builder = builder.config(map=_here(settings))
    return builder.getOrCreate()


def _reach(remote: str) -> None:
    """Raise OSError if nobody listens there: Spark's client would try again for minutes."""
    address = urlsplit(remote)
    host, port = address.hostname or "", address.port or CONNECT_PORT
    socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()


def _here(settings: Settings) -> dict[str, Any]:
    """What a driver that is started by this process needs."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    values = {
        "spark.driver.memory": f"{round(settings.lake.memory_gb * 1024)}m",
        "spark.driver.extraJavaOptions": f'"-Dlog4j2.configurationFile={QUIET_LOG.as_uri()}"',
        "spark.ui.showConsoleProgress": "false",
    }
    master = settings.spark.master or "local[*]"
    if master.startswith("local"):
        # Nobody outside is to be reached, or to look in.
        values |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
        }
    return {"spark.master": master, **values}


def _is_plain(dtype: pa.DataType) -> bool:
    """Whether Spark reads this type of a Parquet column, and means the same by it as DuckDB."""
    if pa.types.is_dictionary(dtype):  # how pandas keeps categories; in the file they are values
        dtype = dtype.value_type
    return dtype in PLAIN or (pa.types.is_timestamp(dtype) and dtype.unit in ("ms", "us"))


def _literal(path: Path) -> str:
    """A path in which Spark finds no glob."""
    return "".join(
        f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in str(path.absolute())
    )


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong in a job, as a sentence: the fault of a file, or of Spark."""
    try:
        yield
    except _spark_errors() as error:
        text = str(error)
        if any(sign in text for sign in DAMAGE):
            raise UnreadableFile(_cause(text)) from error
        raise EngineError(f"Spark could not finish: {_cause(text)}") from error


def _spark_errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return PySparkException, Py4JError


def _cause(text: str) -> str:
    """The innermost exception that a Java stack trace names, without its class."""
    told = text.strip().splitlines() or ["no reason was given"]
    causes = [line for line in told if line.startswith("Caused by: ")]
    java = [line for line in told if re.match(r"(: |Caused by: )?[a-z]+\.[\w.$]+: ", line)]
    line = (causes or java or told)[-1 if causes else 0]
    return re.sub(r"^(: |Caused by: )?([a-z]+\.[\w.$]+: )?", "", line)[:MAX_CAUSE]
