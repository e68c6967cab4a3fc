"""Items and events from CSV, JSON Lines and Parquet: files, folders and globs.

A file that cannot be used at all becomes an `UnusableFile` and a row that cannot be read a
`rejected` row; reading goes on with the rest. Rows count from 1 in each file, a CSV's header and
its blank lines not included. All values of CSV and JSON Lines stay text, so that nothing is lost
before `clean` has looked at it; Parquet keeps its types.

CSV is UTF-8 with a header, its delimiter (comma, semicolon, tab or bar) read off the header.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import duckdb
import narwhals as nw

from vitrina.errors import DataError
from vitrina.lake.engine import LIST_SEPARATOR, ROW, DuckDBEngine, Engine, Frame, first_line
from vitrina.lake.engine.duckdb import identifier
from vitrina.lake.readers.raw import (
    FILE,
    RAW_CHARS,
    InputFile,
    RawTable,
    UnusableFile,
    Wanted,
)
from vitrina.lake.readers.text_rows import load_rows, rejected_rows

SNIFFED_BYTES: Final = 2**20

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}

NOT_JSON: Final = "not a JSON object on one line"


@dataclass(slots=True)
class _Reading:
    """One reading in progress: what the formats add to."""

    engine: Engine
    scratch: Path
    frames: dict[int, Frame] = field(default_factory=dict)
    rejected: list[Frame] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)

    def land(self, number: int, frame: Frame) -> None:
        """Take over the rows of a file that DuckDB has read."""
        self.frames[number] = self.engine.adopt(frame)

    def match(self, wanted: Wanted, address: str, found: Sequence[str]) -> dict[str, str]:
        """`Wanted.match`, remembering what was not wanted."""
        theirs = wanted.match(address, found)
        self.ignored.update(set(found) - set(theirs.values()))
        return theirs


def read_table(engine: Engine, table: str, wanted: Sequence[Wanted]) -> RawTable:
    """Read all files of all sources, in the order of their addresses.

    Raises DataError when an address matches no file, and when no file is usable.
    """
    files = find_files(table, wanted)
    unusable: list[UnusableFile] = []
    with tempfile.TemporaryDirectory(prefix="vitrina-read-") as scratch:
        reading = _Reading(engine, Path(scratch))
        for number, file in enumerate(files):
            try:
                _read_file(reading, wanted[file.wanted], number, Path(file.address))
            except DataError as error:
                unusable.append(UnusableFile(file.address, str(error)))
    if len(unusable) == len(files):
        raise DataError(unusable[0].reason)
    if not reading.rejected:
        reading.rejected.append(_no_rejects(engine.landing))
    return RawTable(
        files=files,
        frames=reading.frames,
        rejected=engine.adopt(nw.concat(reading.rejected)),
        unusable=unusable,
        ignored=sorted(reading.ignored),
    )


def find_files(table: str, wanted: Sequence[Wanted]) -> list[InputFile]:
    """The files behind files, folders (searched whole) and globs, sorted, each once.

    Raises DataError when there are no addresses, or when one matches no readable file.
    """
    if not wanted:
        raise DataError(f"No {table} to read: set '{table}' in [lake] of vitrina.toml.")
    found: dict[Path, InputFile] = {}
    for number, each in enumerate(wanted):
        for address in each.source.files:
            matched = [path for path in _expand(address) if path.suffix.lower() in FORMATS]
            if not matched:
                raise DataError(
                    f"{address} ({table} in [lake] of vitrina.toml) matches no file ending in "
                    f"{', '.join(FORMATS)}. Check the address; relative ones start at the folder "
                    "of vitrina.toml."
                )
            for path in matched:
                found.setdefault(path.resolve(), InputFile(str(path), number))
    return sorted(found.values(), key=lambda file: Path(file.address))


def _expand(address: str) -> Iterator[Path]:
    if "://" in address:
        raise DataError(f"{address} is not on this machine. Copy the files here first.")
    path = Path(address)
    if path.is_dir():
        candidates = sorted(path.rglob("*"))
    elif path.exists():
        candidates = [path]
    else:
        pattern = str(path.relative_to(path.anchor))
        candidates = sorted(Path(path.anchor or ".").glob(pattern))
    for candidate in candidates:
        if candidate.is_file() and not candidate.name.startswith((".", "_")):
            yield candidate


def _read_file(reading: _Reading, wanted: Wanted, number: int, path: Path) -> None:
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if empty:
        raise DataError(f"{path} is empty. Remove it, or write its rows.")
    read = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
    try:
        read[FORMATS[path.suffix.lower()]](reading, wanted, number, path)
    except (duckdb.Error, OSError) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from error


def _read_parquet(reading: _Reading, wanted: Wanted, number: int, path: Path) -> None:
    raw = reading.engine.scan_source(path)
    theirs = reading.match(
        wanted, str(path), [name for name in raw.collect_schema() if name != ROW]
    )
    reading.frames[number] = raw.select(nw.lit(number, nw.Int64).alias(FILE), ROW, **theirs)


def _read_csv(reading: _Reading, wanted: Wanted, number: int, path: Path) -> None:
    delimiter, header = sniff_csv(path)
    theirs = reading.match(wanted, str(path), header)
    engine = reading.engine.landing
    # Positions, not names: what the header calls a column is no business of SQL.
    names = {name: f"c{position}" for position, name in enumerate(header)}
    rows = load_rows(
        engine,
        reading.scratch,
        number,
        path,
        list(names.values()),
        delimiter,
        '"',
        header=True,
    )
    reading.rejected.append(
        rejected_rows(engine, rows, {code: name for name, code in names.items()})
    )
    chosen = "".join(f", {names[column]} AS {identifier(name)}" for name, column in theirs.items())
    reading.land(number, engine.query(f"SELECT {FILE}, {ROW}{chosen} FROM {rows.table}"))


def sniff_csv(path: Path) -> tuple[str, list[str]]:
    """Delimiter and column names of a CSV file, from its first line."""
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16. Save it as UTF-8.")
    line = start.removeprefix(b"\xef\xbb\xbf").splitlines()[0] if start.strip() else b""
    try:
        header_line = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the header is not UTF-8. Save the file as UTF-8.") from error
    if not header_line.strip() or "\0" in header_line:
        raise DataError(f"{path} does not begin with a header line. Write the column names there.")
    unquoted = re.sub(r'"[^"]*"', "", header_line)
    delimiter = max(",;\t|", key=unquoted.count)
    header = next(csv.reader([header_line], delimiter=delimiter))
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path} has the column '{twice}' twice. Remove one of them.")
    return delimiter, header


def _read_jsonl(reading: _Reading, wanted: Wanted, number: int, path: Path) -> None:
    # JSON escapes control characters, so that a line never holds this delimiter.
    engine = reading.engine.landing
    rows = load_rows(engine, reading.scratch, number, path, ["line"], "\x01", "", header=False)
    engine.run(f"DELETE FROM {rows.table} WHERE line IS NULL OR trim(line) = ''")
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
    keys = engine.run(
        f"SELECT DISTINCT unnest(json_keys(line)) FROM {rows.table} WHERE {is_object}"
    )
    theirs = reading.match(wanted, str(path), sorted(key for (key,) in keys)) if keys else {}
    paths = {name: literal_text(json_path(key)) for name, key in theirs.items()}
    values = "".join(
        f", {_json_value(f'fields[{place}]', path)} AS {identifier(name)}"
        for place, (name, path) in enumerate(paths.items(), start=1)
    )
    objects = engine.query(
        f"SELECT {FILE}, {ROW}{values} FROM (SELECT {FILE}, {ROW}, line, "
        f"json_extract_string(line, [{', '.join(paths.values())}]::VARCHAR[]) AS fields "
        f"FROM {rows.table} WHERE {is_object})"
    )
    reading.land(number, engine.persist(objects))
    reading.rejected.append(rejected_rows(engine, rows, {}))
    reading.rejected.append(
        engine.persist(
            engine.query(
                f"SELECT {FILE}, {ROW}, NULL::VARCHAR AS column, '{NOT_JSON}' AS reason, "
                f"substr(line, 1, {RAW_CHARS}) AS raw FROM {rows.table} WHERE NOT {is_object}"
            )
        )
    )


def _json_value(field: str, path: str) -> str:
    """A list as its elements joined; anything else as it is."""
    elements = f"json_extract_string(line, {path} || '[*]')"
    return (
        f"CASE WHEN {field} LIKE '[%' AND json_type(line, {path}) = 'ARRAY' "
        f"THEN array_to_string({elements}, '{LIST_SEPARATOR}') ELSE {field} END"
    )


def _no_rejects(engine: DuckDBEngine) -> Frame:
    return engine.query(
        f"SELECT 0::BIGINT AS {FILE}, 0::BIGINT AS {ROW}, '' AS column, '' AS reason, '' AS raw "
        "WHERE false"
    )


def literal_text(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def json_path(key: str) -> str:
    """The JSON path of a member of the outermost object."""
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
