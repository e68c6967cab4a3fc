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
from vitrina.lake.engine import DuckDBEngine, Frame, first_line
from vitrina.lake.text_rows import FILE, RAW_CHARS, ROW, load_rows, rejected_rows

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


@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file of which no row could be read, and why (a sentence that names it)."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class RawTable:
    """What was read of one table.

    files: the files read, sorted by path; `_file` counts in this list.
    frames: each usable file's place in `files` and its rows: `_file`, `_row` and those of the
        table's columns that the file has.
    rejected: rows that could not be read, with REJECTED_COLUMNS.
    ignored: columns of the files that the table does not know.
    """

    files: list[Path]
    frames: dict[int, Frame]
    rejected: Frame
    unusable: list[UnusableFile]
    ignored: list[str]


@dataclass(slots=True)
class _Reading:
    """One reading in progress: what the three formats add to."""

    engine: DuckDBEngine
    columns: Sequence[str]
    required: Sequence[Sequence[str]]
    scratch: Path
    frames: dict[int, Frame] = field(default_factory=dict)
    rejected: list[Frame] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)

    def match(self, path: Path, found: Sequence[str]) -> dict[str, str]:
        """Our name of each usable column -> its name in the file.

        Names match without regard to case and surrounding blanks. Raises DataError when a
        required column is missing or a column is there twice.
        """
        ours: dict[str, str] = {}
        for name in found:
            key = name.strip().lower()
            if key not in self.columns:
                self.ignored.add(name)
            elif key in ours:
                raise DataError(f"{path} has the column '{key}' twice. Remove one of them.")
            else:
                ours[key] = name
        for choice in self.required:
            if not any(name in ours for name in choice):
                raise DataError(
                    f"{path} has no column {' or '.join(repr(name) for name in choice)} "
                    f"(found: {', '.join(found) or 'none'}). Add it, or rename the column that "
                    "holds it."
                )
        return ours


def read_table(
    engine: DuckDBEngine,
    table: str,
    addresses: Sequence[str],
    *,
    columns: Sequence[str],
    required: Sequence[Sequence[str]],
) -> RawTable:
    """Read all files that `addresses` name, in the order of their paths.

    columns: the columns wanted. required: of each of these sets, a file must have one.
    Raises DataError when an address matches no file, and when no file is usable.
    """
    files = find_files(table, addresses)
    unusable: list[UnusableFile] = []
    with tempfile.TemporaryDirectory(prefix="vitrina-read-") as scratch:
        reading = _Reading(engine, columns, required, Path(scratch))
        for number, path in enumerate(files):
            try:
                _read_file(reading, number, path)
            except DataError as error:
                unusable.append(UnusableFile(path, str(error)))
    if len(unusable) == len(files):
        raise DataError(unusable[0].reason)
    if not reading.rejected:
        reading.rejected.append(_no_rejects(engine))
    return RawTable(
        files=files,
        frames=reading.frames,
        rejected=nw.concat(reading.rejected),
        unusable=unusable,
        ignored=sorted(reading.ignored),
    )


def find_files(table: str, addresses: Sequence[str]) -> list[Path]:
    """The files behind files, folders (searched whole) and globs, sorted, each once.

    Raises DataError when there are no addresses, or when one matches no readable file.
    """
    if not addresses:
        raise DataError(f"No {table} to read: set '{table}' in [lake] of vitrina.toml.")
    found: dict[Path, Path] = {}
    for address in addresses:
        matched = [path for path in _expand(address) if path.suffix.lower() in FORMATS]
        if not matched:
            raise DataError(
                f"{address} ({table} in [lake] of vitrina.toml) matches no file ending in "
                f"{', '.join(FORMATS)}. Check the address; relative ones start at the folder of "
                "vitrina.toml."
            )
        found.update({path.resolve(): path for path in matched})
    return sorted(found.values())


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


def _read_file(reading: _Reading, number: int, path: Path) -> None:
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if empty:
        raise DataError(f"{path} is empty. Remove it, or write its rows.")
    read = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
    try:
        read[FORMATS[path.suffix.lower()]](reading, number, path)
    except (duckdb.Error, OSError) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from error


def _read_parquet(reading: _Reading, number: int, path: Path) -> None:
    raw = reading.engine.scan_parquet(path)
    schema = raw.collect_schema()
    ours = reading.match(path, list(schema))
    chosen = [_parquet_value(ours[name], schema[ours[name]], name) for name in ours]
    reading.frames[number] = reading.engine.query(
        f"SELECT {number}::BIGINT AS {FILE}, file_row_number + 1 AS {ROW}, "
        f"{', '.join(chosen)} FROM read_parquet(?, file_row_number = true)",
        [str(path)],
    )


def _parquet_value(theirs: str, dtype: nw.dtypes.DType, ours: str) -> str:
    """Lists of category levels become one path, other nested values JSON text."""
    column = _identifier(theirs)
    if ours == "category_path" and isinstance(dtype, nw.List):
        column = f"array_to_string({column}, ' > ')"
    elif dtype.is_nested():
        column = f"CAST(to_json({column}) AS VARCHAR)"
    elif isinstance(dtype, nw.Unknown | nw.Binary):
        column = f"CAST({column} AS VARCHAR)"
    return f"{column} AS {_identifier(ours)}"


def _read_csv(reading: _Reading, number: int, path: Path) -> None:
    delimiter, header = sniff_csv(path)
    ours = reading.match(path, header)
    # Positions, not names: what the header calls a column is no business of SQL.
    names = {name: f"c{position}" for position, name in enumerate(header)}
    rows = load_rows(
        reading.engine,
        reading.scratch,
        number,
        path,
        list(names.values()),
        delimiter,
        '"',
        header=True,
    )
    names_of = {names[theirs]: name for name, theirs in ours.items()}
    found = {code: names_of.get(code, name) for name, code in names.items()}
    reading.rejected.append(rejected_rows(reading.engine, rows, found))
    reading.frames[number] = reading.engine.query(
        f"SELECT {FILE}, {ROW}, "
        + ", ".join(f"{names[theirs]} AS {_identifier(name)}" for name, theirs in ours.items())
        + f" FROM {rows.table}"
    )


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


def _read_jsonl(reading: _Reading, number: int, path: Path) -> None:
    # JSON escapes control characters, so that a line never holds this delimiter.
    engine = reading.engine
    rows = load_rows(engine, reading.scratch, number, path, ["line"], "\x01", "", header=False)
    engine.run(f"DELETE FROM {rows.table} WHERE line IS NULL OR trim(line) = ''")
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
    paths = ", ".join(f"'$.\"{name}\"'" for name in reading.columns)
    levels = "array_to_string(json_extract_string(line, '$.category_path[*]'), ' > ')"
    fields = {name: f"fields[{place}]" for place, name in enumerate(reading.columns, start=1)}
    if (path_field := fields.get("category_path")) is not None:
        fields["category_path"] = (
            f"CASE WHEN {path_field} LIKE '[%' THEN {levels} ELSE {path_field} END"
        )
    values = ", ".join(f"{field} AS {_identifier(name)}" for name, field in fields.items())
    frame = engine.persist(
        engine.query(
            f"SELECT {FILE}, {ROW}, {values} FROM (SELECT {FILE}, {ROW}, line, "
            f"json_extract_string(line, [{paths}]) AS fields FROM {rows.table} WHERE {is_object})"
        )
    )
    keys = engine.run(
        f"SELECT DISTINCT unnest(json_keys(line)) FROM {rows.table} WHERE {is_object}"
    )
    if keys:
        reading.match(path, sorted(key for (key,) in keys))
    reading.frames[number] = frame
    reading.rejected.append(rejected_rows(engine, rows, {}))
    reading.rejected.append(
        engine.persist(
            engine.query(
                f"SELECT {FILE}, {ROW}, NULL::VARCHAR AS column, '{NOT_JSON}' AS reason, "
                f"substr(line, 1, {RAW_CHARS}) AS raw FROM {rows.table} WHERE NOT {is_object}"
            )
        )
    )


def _no_rejects(engine: DuckDBEngine) -> Frame:
    return engine.query(
        f"SELECT 0::BIGINT AS {FILE}, 0::BIGINT AS {ROW}, '' AS column, '' AS reason, '' AS raw "
        "WHERE false"
    )


def _identifier(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'"{quoted}"'
