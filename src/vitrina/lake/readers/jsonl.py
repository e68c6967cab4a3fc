"""JSON Lines: one object a line, or one object with a list of objects a line.

A list of plain values becomes one text (LIST_SEPARATOR between its elements); other nested values
stay JSON text. A map of columns, and `unnest`, reach into objects by dots: `properties.sku`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.engine import LIST_SEPARATOR, ROW, Frame
from vitrina.lake.engine.duckdb import identifier
from vitrina.lake.readers.dialect import LINES
from vitrina.lake.readers.raw import FILE, RAW_CHARS
from vitrina.lake.readers.reading import Columns, FileRows, Reading
from vitrina.lake.readers.rows import load_rows

NOT_JSON: Final = "not a JSON object on one line"
NO_LIST: Final = "no list under the key that unnest in vitrina.toml names"
NO_ELEMENT: Final = "an element of the list is not a JSON object"
START_BYTES: Final = 2**16


def read_jsonl(reading: Reading, path: Path) -> FileRows:
    """The objects of one UTF-8 file: rows are its lines, or with `unnest` the lists' elements.

    Raises DataError when no object has a required column.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise DataError(
            f"{reading.address} is one JSON list. Write one object a line, for example with: "
            "jq -c '.[]' FILE > FILE.jsonl"
        )
    engine = reading.engine
    rows = load_rows(reading, path, LINES, [0])
    lines = engine.new_name()
    engine.run(
        f"CREATE VIEW {lines} AS SELECT {ROW}, c0 AS line, "
        "CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END AS is_object, "
        f"NULL::VARCHAR AS reason FROM {rows.loaded} WHERE trim(c0) != '' "
        f"UNION ALL SELECT {ROW}, raw, false, reason FROM {rows.rejected}"
    )
    nested = reading.wanted.source.unnest
    read = _read_lines(reading, lines) if nested is None else _read_lists(reading, lines, nested)
    engine.run(f"DROP VIEW {lines}")
    engine.run(f"DROP TABLE {rows.loaded}")
    return read


def _read_lines(reading: Reading, lines: str) -> FileRows:
    found = _members(reading, _keys(reading, "line", f"{lines} WHERE is_object"))
    columns = reading.match(list(found)) if found else Columns()
    paths = _paths(found, columns)
    frame = reading.engine.persist(
        reading.engine.query(
            f"SELECT {reading.number}::BIGINT AS {FILE}, {ROW}{_values(paths, 'line', 'texts')} "
            f"FROM (SELECT {ROW}, line, {_texts(paths, 'line')} AS texts FROM {lines} "
            "WHERE is_object)"
        )
    )
    bad = f"SELECT {ROW}, coalesce(reason, '{NOT_JSON}') AS reason, line FROM {lines}"
    return reading.rows(frame, columns, [_rejected(reading, f"{bad} WHERE NOT is_object")])


def _read_lists(reading: Reading, lines: str, nested: str) -> FileRows:
    """One row for each element of the list `nested`, its fields beside those around the list.

    Rows count from 1 through the whole file; a line without the list counts as one.
    """
    engine, at = reading.engine, _path(*nested.split("."))
    every = f"json_extract(line, {at} || '[*]')"
    counts, elements = engine.new_name(), engine.new_name()
    engine.run(
        f"""
        CREATE TABLE {counts} AS
        SELECT {ROW}, is_list, size, coalesce(sum(size) OVER (
            ORDER BY {ROW} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS before
        FROM (SELECT {ROW}, is_list,
                     CASE WHEN is_list THEN json_array_length(line, {at}) ELSE 1 END AS size
              FROM (SELECT *, CASE WHEN is_object
                                   THEN coalesce(json_type(line, {at}) = 'ARRAY', false)
                                   ELSE false END AS is_list FROM {lines}))
        """
    )
    listed = f"(SELECT * FROM {lines} JOIN {counts} USING ({ROW}) WHERE is_list)"
    outer = [key for key in _keys(reading, "line", listed) if key != nested]
    inner = _keys(
        reading,
        "element",
        f"(SELECT unnest({every}) AS element FROM {listed}) WHERE json_type(element) = 'OBJECT'",
    )
    within = _members(reading, inner)
    found = within | {
        name: path for name, path in _members(reading, outer).items() if name not in within
    }
    columns = reading.match(list(found)) if inner else Columns()
    paths = _paths(found, columns)
    own = {name: path for name, path in paths.items() if columns.places[name] < len(within)}
    around = {name: path for name, path in paths.items() if name not in own}
    engine.run(
        f"""
        CREATE TABLE {elements} AS
        SELECT {reading.number}::BIGINT AS {FILE}, before + place AS {ROW}, is_object,
               CASE WHEN NOT is_object THEN element::VARCHAR END AS line
               {_values(own, "element", "own")}{_values(around, "line", "around")}
        FROM (SELECT *, json_type(element) = 'OBJECT' AS is_object,
                     {_texts(own, "element")} AS own FROM (
            SELECT before, line, {_texts(around, "line")} AS around,
                   unnest({every}) AS element, unnest(range(1, size::BIGINT + 1)) AS place
            FROM {listed}))
        """
    )
    names = "".join(f", {identifier(name)}" for name in paths)
    frame = engine.query(f"SELECT {FILE}, {ROW}{names} FROM {elements} WHERE is_object")
    rejected = _rejected(
        reading,
        f"SELECT before + 1 AS {ROW}, coalesce(reason, CASE WHEN is_object THEN '{NO_LIST}' "
        f"ELSE '{NOT_JSON}' END) AS reason, line FROM {lines} JOIN {counts} USING ({ROW}) "
        f"WHERE NOT is_list UNION ALL SELECT {ROW}, '{NO_ELEMENT}', line FROM {elements} "
        "WHERE NOT is_object",
    )
    engine.run(f"DROP TABLE {counts}")
    return reading.rows(frame, columns, [rejected])


def _rejected(reading: Reading, query: str) -> Frame:
    """The rows of a query (ROW, reason, line), with REJECTED_COLUMNS."""
    return reading.engine.persist(
        reading.engine.query(
            f"SELECT {reading.number}::BIGINT AS {FILE}, {ROW}, NULL::VARCHAR AS column, reason, "
            f"substr(line, 1, {RAW_CHARS}) AS raw FROM ({query})"
        )
    )


def _keys(reading: Reading, column: str, objects: str) -> list[str]:
    """The keys of all objects, sorted."""
    keys = reading.engine.run(f"SELECT DISTINCT unnest(json_keys({column})) FROM {objects}")
    return sorted(key for (key,) in keys)


def _members(reading: Reading, keys: Collection[str]) -> dict[str, str]:
    """The JSON path of each key, and of what the source's map names within their objects."""
    named = {theirs for column in reading.wanted.source.columns.values() for theirs in column.needs}
    nested = [
        theirs
        for theirs in sorted(named)
        if theirs not in keys and "." in theirs and theirs.partition(".")[0] in keys
    ]
    entered = {theirs.partition(".")[0] for theirs in nested} - named
    own = {key: _path(key) for key in keys if key not in entered}
    return own | {theirs: _path(*theirs.split(".")) for theirs in nested}


def _paths(found: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """The JSON path of each wanted column. found: the file's columns, in order."""
    paths = list(found.values())
    return {name: paths[place] for name, place in columns.places.items()}


def _texts(paths: Mapping[str, str], document: str) -> str:
    """A list of the values at `paths`, as text: one pass over the document for all of them."""
    return f"json_extract_string({document}, [{', '.join(paths.values())}]::VARCHAR[])"


def _values(paths: Mapping[str, str], document: str, texts: str) -> str:
    """The elements of `texts` as columns; a list as its own elements, joined."""
    columns = []
    for place, (name, path) in enumerate(paths.items(), start=1):
        text = f"{texts}[{place}]"
        elements = f"json_extract_string({document}, {path} || '[*]')"
        columns.append(
            f", CASE WHEN {text} LIKE '[%' AND json_type({document}, {path}) = 'ARRAY' "
            f"THEN array_to_string({elements}, '{LIST_SEPARATOR}') ELSE {text} END "
            f"AS {identifier(name)}"
        )
    return "".join(columns)


def _path(*keys: str) -> str:
    """The JSON path of a member of the outermost object, or of those within it, as SQL."""
    members = [key.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''") for key in keys]
    return "'$" + "".join(f'."{member}"' for member in members) + "'"
