"""All rows of files, one file after the other.

A file that cannot be used at all becomes an `UnusableFile` and a row that cannot be read a
`rejected` row; reading goes on with the rest. Rows count from 1 in each file, a CSV's header,
comments and blank lines not included. All values of CSV and JSON Lines stay text, so that nothing
is lost before `clean` has looked at it; Parquet keeps its types.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import narwhals as nw

from vitrina.errors import DataError, EngineError
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.engine.files import FULL
from vitrina.lake.readers import s3
from vitrina.lake.readers.addresses import is_database
from vitrina.lake.readers.csv import read_csv
from vitrina.lake.readers.jsonl import read_jsonl
from vitrina.lake.readers.parquet import read_parquet
from vitrina.lake.readers.plain import format_of, in_utf8, unpacked
from vitrina.lake.readers.postgres import read_postgres
from vitrina.lake.readers.raw import FILE, InputFile, RawTable, UnusableFile, Wanted
from vitrina.lake.readers.reading import FileRows, Reading


def read_files(engine: Engine, files: Sequence[InputFile], wanted: Sequence[Wanted]) -> RawTable:
    """Read files, each as its source says; maybe none of them is usable.

    files: of those that `find_files` found for `wanted`, in that order. Raises SourceError when a
    bucket or a database cannot be read, EngineError when there is no room for the rows.
    """
    frames: dict[int, Frame] = {}
    rejected: list[Frame] = []
    unusable: list[UnusableFile] = []
    ignored: set[str] = set()
    for number, file in enumerate(files):
        with tempfile.TemporaryDirectory(prefix="vitrina-read-") as scratch:
            reading = Reading(
                engine.landing, Path(scratch), number, file.address, wanted[file.wanted]
            )
            try:
                rows = _read(reading, engine, file.location)
            except DataError as error:
                unusable.append(UnusableFile(file.address, _reason(error, reading)))
                continue
        frames[number] = rows.frame
        rejected.extend(rows.rejected)
        ignored.update(rows.ignored)
    return RawTable(
        files=list(files),
        frames=frames,
        rejected=engine.adopt(nw.concat([_no_rejects(engine), *rejected])),
        unusable=unusable,
        ignored=sorted(ignored),
    )


def _read(reading: Reading, engine: Engine, location: str) -> FileRows:
    """The rows of one file or database table, as frames of `engine`; the rejected ones landed."""
    if is_database(location):
        return _adopted(engine, read_postgres(reading, location))
    try:
        return _read_file(reading, engine, location)
    except OSError as error:
        if error.errno in FULL:
            raise EngineError(
                f"The disk is full: a copy of {reading.address} does not fit into "
                f"{tempfile.gettempdir()}. Make room there, or set TMPDIR to a larger disk."
            ) from error
        raise DataError(f"{reading.address} cannot be read: {error.strerror or error}.") from error


def _read_file(reading: Reading, engine: Engine, location: str) -> FileRows:
    scratch, address = reading.scratch, reading.address
    path = Path(location)
    if location.startswith(s3.SCHEME):
        path = scratch / "fetched"
        s3.fetch(location, path)
    if path.stat().st_size == 0:
        raise DataError(f"{address} is empty. Remove it, or write its rows.")
    path = _next(path, unpacked(path, address, scratch / "unpacked"), scratch)
    kind = format_of(path, address)
    if kind == "parquet":
        if path.parent != scratch:
            return read_parquet(reading, engine, path)
        # The copy is gone before anyone looks at a lazy frame.
        rows = read_parquet(reading, engine.landing, path)
        return _adopted(engine, replace(rows, frame=engine.landing.persist(rows.frame)))
    encoding = reading.wanted.source.encoding
    path = _next(path, in_utf8(path, address, scratch / "utf8", encoding), scratch)
    return _adopted(engine, {"csv": read_csv, "jsonl": read_jsonl}[kind](reading, path))


def _next(path: Path, made: Path, scratch: Path) -> Path:
    """What was made of a file; the file itself goes, if it was a copy."""
    if made != path and path.parent == scratch:
        path.unlink()
    return made


def _reason(error: DataError, reading: Reading) -> str:
    """Why a file cannot be used, in terms of its address and not of a copy's."""
    reason = re.sub(rf"{re.escape(str(reading.scratch))}/\w+", reading.address, str(error))
    return reason if reading.address in reason else f"{reading.address} cannot be read: {reason}"


def _adopted(engine: Engine, rows: FileRows) -> FileRows:
    return replace(rows, frame=engine.adopt(rows.frame))


def _no_rejects(engine: Engine) -> Frame:
    return engine.landing.query(
        f"SELECT 0::BIGINT AS {FILE}, 0::BIGINT AS {ROW}, '' AS column, '' AS reason, "
        "'' AS raw WHERE false"
    )
