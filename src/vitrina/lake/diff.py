"""Two lakes compared, table by table, row by row: what differs, and where.

Rows are compared as multisets: their order and the files they lie in do not matter. A first pass
sums two hashes of every row, which settles equal tables in one scan; only tables whose sums differ
are subtracted from one another. Shards of sequences are compared byte by byte.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import duckdb
import narwhals as nw

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.engine.duckdb import identifier
from vitrina.lake.shards import SHARDS, SUFFIX, read_shards
from vitrina.lake.tables import TableName, scan_set, set_at, table_at

THERE: Final = "_there"
EXAMPLES: Final = 5
"""Differing rows that are shown of a table."""

KEYS: Final[Mapping[str, Sequence[str]]] = {
    "items": ("item_id",),
    "snapshots": ("item_id", "since"),
    "events": ("event_id",),
    "quarantine": ("table", "file", "row", "column", "reason"),
    "bots": ("key", "reason"),
}
"""What tells the rows of a table apart: rows of one key, different otherwise, are one changed."""


@dataclass(frozen=True, slots=True)
class TableDiff:
    """How one table of A differs from B's. rows: of A and of B; None where it is not there.

    schema: sentences about columns that one side lacks or has as another type, which are not
        compared, and about shards of sequences that differ.
    only_a, only_b: rows without an equal one on the other side.
    changed: how many rows of one key differ, by column. examples: a few of all of these, each
        {"key": {…}, "a": {column: value, …} or None, "b": the same}.
    """

    table: TableName | Literal["sequences"]
    rows: tuple[int | None, int | None]
    schema: list[str] = field(default_factory=list)
    only_a: int = 0
    only_b: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        there = [rows is not None for rows in self.rows]
        return there[0] == there[1] and not (self.schema or self.only_a or self.only_b)


def diff_lakes(
    a: Path, b: Path, *, progress: Callable[[str], None] | None = None
) -> list[TableDiff]:
    """Compare every table. a, b: lakes (their current tables), or folders of one set of tables.

    progress is told the name of each table as it begins. Raises DataError when one of them is a
    lake without tables.
    """
    folders = set_at(a), set_at(b)
    found = []
    with DuckDBEngine() as engine:
        for table in get_args(TableName):
            if progress:
                progress(table)
            found.append(_diff(engine, table, *folders))
    return [*found, _diff_sequences(*folders)]


def _diff_sequences(a: Path, b: Path) -> TableDiff:
    """Shards, file by file: each is a function of its shoppers' events (`shards`)."""
    a, b = a / SHARDS, b / SHARDS
    shards = [{path.name for path in folder.glob(f"*{SUFFIX}")} for folder in (a, b)]
    rows = [sum(len(shard) for shard in read_shards(folder)) for folder in (a, b)]
    both = sorted(shards[0] & shards[1])
    _, differ, unreadable = filecmp.cmpfiles(a, b, both, shallow=False)
    differ += unreadable
    notes = [f"{len(differ)} shards differ, {differ[0]} among them"] if differ else []
    for side, lacking in (("A", shards[1] - shards[0]), ("B", shards[0] - shards[1])):
        if lacking:
            notes.append(f"{side} lacks {len(lacking)} shards, {min(lacking)} among them")
    return TableDiff("sequences", (rows[0], rows[1]), notes)


def _diff(engine: DuckDBEngine, table: TableName, *folders: Path) -> TableDiff:
    there = [table_at(folder, table).exists() for folder in folders]
    if not all(there):
        rows = [
            _count(engine, folder, table) if exists else None
            for folder, exists in zip(folders, there, strict=True)
        ]
        return TableDiff(table, (rows[0], rows[1]))
    sides = [scan_set(engine, folder, table) for folder in folders]
    schemas = [dict(side.collect_schema()) for side in sides]
    columns = [name for name, dtype in schemas[0].items() if schemas[1].get(name) == dtype]
    relations = [side.select(*columns).to_native() for side in sides]
    sums = [_sums(relation, columns) for relation in relations]
    found = TableDiff(table, (sums[0][0], sums[1][0]), _schema_differences(*schemas))
    if sums[0] == sums[1]:
        return found
    return _rows_differing(engine, found, relations, columns)


def _count(engine: DuckDBEngine, folder: Path, table: TableName) -> int:
    rows: int = engine.collect(scan_set(engine, folder, table).select(nw.len()))[0][0].as_py()
    return rows


def _schema_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    lacking = [
        f"{side} has no column {name}"
        for side, theirs, ours in (("A", b, a), ("B", a, b))
        for name in theirs
        if name not in ours
    ]
    types = [
        f"{name} is {dtype} in A, {b[name]} in B"
        for name, dtype in a.items()
        if b.get(name, dtype) != dtype
    ]
    return lacking + types


def _sums(relation: duckdb.DuckDBPyRelation, columns: Sequence[str]) -> tuple[int, ...]:
    """Rows, and the sums of two hashes of them: the same for equal multisets of rows."""
    names = ", ".join(map(identifier, columns))
    sums: tuple[int, ...] = relation.aggregate(
        f"count(*), sum(hash({names})::HUGEINT), sum(hash('', {names})::HUGEINT)"
    ).fetchall()[0]
    return sums


def _rows_differing(
    engine: DuckDBEngine,
    found: TableDiff,
    relations: Sequence[duckdb.DuckDBPyRelation],
    columns: Sequence[str],
) -> TableDiff:
    a, b = (engine.new_name() for _ in relations)
    relations[0].except_(relations[1]).create(a)
    relations[1].except_(relations[0]).create(b)
    ((only_a, only_b),) = engine.run(
        f"SELECT (SELECT count(*) FROM {a}), (SELECT count(*) FROM {b})"
    )
    keys = [name for name in KEYS[found.table] if name in columns]
    others = [name for name in columns if name not in keys]
    same_key = " AND ".join(
        f"a.{key} IS NOT DISTINCT FROM b.{key}" for key in map(identifier, keys)
    )
    pairs = f"FROM {a} a JOIN {b} b ON {same_key or 'false'}"
    differ = {name: "a.{0} IS DISTINCT FROM b.{0}".format(identifier(name)) for name in others}
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in differ.values())
    (changes,) = engine.run(f"SELECT {counts or 'NULL'} {pairs}")
    return replace(
        found,
        only_a=only_a,
        only_b=only_b,
        changed={name: rows for name, rows in zip(others, changes, strict=False) if rows},
        examples=_examples(engine, (a, b), same_key, keys, columns),
    )


def _examples(
    engine: DuckDBEngine,
    only: tuple[str, str],
    same_key: str,
    keys: Sequence[str],
    columns: Sequence[str],
) -> list[dict[str, Any]]:
    """A few differing rows: those in both first, with the columns that differ."""
    order = "".join(f", coalesce(a.{key}, b.{key})" for key in map(identifier, keys))
    sides = [f"(SELECT *, true AS {THERE} FROM {name})" for name in only]
    rows = engine.query(
        f"SELECT a, b FROM {sides[0]} a FULL JOIN {sides[1]} b ON {same_key or 'false'} "
        f"ORDER BY a.{THERE} AND b.{THERE} NULLS LAST{order} LIMIT {EXAMPLES}"
    )
    examples = []
    for row in engine.collect(rows).to_pylist():
        a, b = (side if side.pop(THERE) else None for side in (row["a"], row["b"]))
        shown = [name for name in columns if a is None or b is None or a[name] != b[name]]
        examples.append(
            {
                "key": {key: (a or b or {})[key] for key in keys},
                "a": a and {name: a[name] for name in shown},
                "b": b and {name: b[name] for name in shown},
            }
        )
    return examples
