"""The rows that could not be used, and the values that could not be kept, each with its place.

One row of the quarantine table is one of these: table, file, row (from 1), column (null where the
whole row is at fault), reason, raw (the row's text, cut), row_kept (true where only the value of
`column` was taken out or cut).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw
import numpy as np

from vitrina.errors import DataError, UnreadableFile
from vitrina.lake.clean import COLUMN, NOTED, RAW, REASON, REPAIRED
from vitrina.lake.contract import Table, repairs
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.mapping import SourceMap, joined_maps, lacking, map_columns, mapped_columns
from vitrina.lake.readers.raw import FILE, REJECTED_COLUMNS, RawTable, UnusableFile
from vitrina.lake.report import TableReport
from vitrina.settings_sources import Source

EXAMPLES: Final = 5

USABLE: Final = "_usable"
"""Boolean: whether a checked row can be used."""


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """The rows of one table after `clean`, and the files and columns they came from.

    rows: all rows, with FILE, ROW, USABLE and the columns that were asked for. noted: those with a
    fault or a repair, as `check` returns them.
    """

    name: Table
    raw: RawTable
    rows: Frame
    noted: Frame
    mapped: list[SourceMap]
    unusable: list[UnusableFile]

    @property
    def good(self) -> Frame:
        """The rows that can be used, duplicates among them."""
        return self.rows.filter(nw.col(USABLE)).drop(USABLE)

    @property
    def bad(self) -> Frame:
        """Those of `noted` that cannot be used."""
        return self.noted.filter(~nw.col(REASON).is_null())


def check_files(
    engine: Engine,
    name: Table,
    raw: RawTable,
    sources: Sequence[Source],
    check: Callable[[Frame], Frame],
    columns: Sequence[str],
    *,
    whole: bool,
) -> CheckedTable:
    """Map each file's columns and run `check` over its rows.

    A file that turns out to be damaged is left out whole. columns: of good rows, those of use.
    whole: whether these are all files of the sources. Raises DataError when a source's map names a
    column that none of its files has, if they are, and when all files there are cannot be used.
    """
    mapped = mapped_columns(raw, name, sources, whole=whole)
    checked: list[Frame] = []
    noted: list[Frame] = []
    unusable = list(raw.unusable)

    def add(frame: Frame, source: Source) -> None:
        usable = nw.col(REASON).is_null().alias(USABLE)
        rows = check(map_columns(frame, name, source)).select(FILE, ROW, NOTED, usable, *columns)
        kept = _kept(engine, rows, lacking(frame, name, source))
        # Few rows have faults: to look at these again costs less than to keep room for what is
        # said of them beside all others.
        again = kept.filter(nw.col(NOTED)).select(ROW)
        found = check(map_columns(frame.join(again, on=ROW, how="semi"), name, source))
        noted.append(engine.persist(found.drop(NOTED)))
        checked.append(kept.drop(NOTED))

    for number, frame in raw.frames.items():
        try:
            add(frame, sources[raw.files[number].wanted])
        except UnreadableFile as error:
            address = raw.files[number].address
            unusable.append(UnusableFile(address, f"{address} is damaged: {error}"))
    if not checked:
        if whole:
            raise DataError(unusable[0].reason)
        add(engine.from_columns({each: np.empty(0, np.int64) for each in (FILE, ROW)}), sources[0])
    return CheckedTable(name, raw, nw.concat(checked), nw.concat(noted), mapped, unusable)


def _kept(engine: Engine, rows: Frame, empty: Sequence[str]) -> Frame:
    """Checked rows, kept by the engine. empty: columns without any value.

    These are not computed, and take no room: to store nothing twenty million times costs DuckDB as
    much as to store an id.
    """
    types = rows.collect_schema()
    nothing = {name: nw.lit(None, types[name]) for name in empty if name in types}
    kept = engine.persist(rows.drop(*nothing))
    return kept.select(*(nothing[name].alias(name) if name in nothing else name for name in types))


def quarantine(engine: Engine, checked: CheckedTable) -> Frame:
    """The quarantine table's rows of one table."""
    place = (nw.col(FILE), nw.col(ROW))
    no = nw.lit(False).alias("row_kept")
    parts = [
        checked.raw.rejected.select(*REJECTED_COLUMNS, no),
        checked.bad.select(
            *place,
            nw.col(COLUMN).alias("column"),
            nw.col(REASON).alias("reason"),
            nw.col(RAW).alias("raw"),
            no,
        ),
    ]
    for column, reason in repairs(checked.name).items():
        repaired = nw.col(REASON).is_null() & nw.col(REPAIRED + column)
        parts.append(
            checked.noted.filter(repaired).select(
                *place,
                nw.lit(column).alias("column"),
                nw.lit(reason).alias("reason"),
                nw.col(RAW).alias("raw"),
                nw.lit(True).alias("row_kept"),
            )
        )
    names = np.array([file.address for file in checked.raw.files], dtype=np.str_)
    files = engine.from_columns({FILE: np.arange(len(names), dtype=np.int64), "file": names})
    joined = nw.concat(parts).join(files, on=FILE, how="inner")
    return joined.select(
        nw.lit(checked.name).alias("table"),
        "file",
        nw.col(ROW).alias("row"),
        "column",
        "reason",
        "raw",
        "row_kept",
    )


def table_report(
    engine: Engine,
    checked: CheckedTable,
    quarantined: Frame,
    *,
    kept: int,
    duplicates: int,
    earlier: TableReport | None = None,
) -> TableReport:
    """Count one table.

    checked: what this run has read. quarantined: the whole quarantine table. kept, duplicates:
    rows of the whole. earlier: the report of the last set, if what it was made of was not read
    again. Raises DataError when the rows do not add up.
    """
    read_now = count(engine, checked.rows) + count(engine, checked.raw.rejected)
    reasons = _reasons(engine, quarantined.filter(nw.col("table") == checked.name))
    ignored = set(checked.raw.ignored) | set(earlier.ignored_columns if earlier else ())
    report = TableReport(
        files=len(checked.raw.files) + (earlier.files if earlier else 0),
        read=read_now + (earlier.read if earlier else 0),
        read_now=read_now,
        kept=kept,
        duplicates=duplicates,
        quarantined=reasons[False],
        repaired=reasons[True],
        mapped=joined_maps(earlier.mapped if earlier else [], checked.mapped),
        ignored_columns=sorted(ignored),
        unusable_files=[{"file": file.address, "reason": file.reason} for file in checked.unusable],
    )
    report.check(checked.name)
    return report


def examples(engine: Engine, quarantined: Frame) -> list[dict[str, Any]]:
    """The first row of each of a few reasons, as a person should see them."""
    first = quarantined.filter(~nw.col("row_kept")).sort("table", "file", "row")
    rows = engine.collect(first.head(1000)).to_pylist()
    by_reason: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        by_reason.setdefault((row["table"], row["column"], row["reason"]), row)
    shown = ("table", "file", "row", "column", "reason")
    return [{name: row[name] for name in shown} for row in list(by_reason.values())[:EXAMPLES]]


def count(engine: Engine, frame: Frame) -> int:
    """Number of rows."""
    rows: int = engine.collect(frame.select(nw.len()))[0][0].as_py()
    return rows


def _reasons(engine: Engine, rows: Frame) -> dict[bool, dict[str, int]]:
    counted = rows.group_by("row_kept", "column", "reason").agg(rows=nw.len())
    reasons: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for entry in engine.collect(counted.sort("column", "reason")).to_pylist():
        column = f"{entry['column']}: " if entry["column"] else ""
        reasons[entry["row_kept"]][column + entry["reason"]] = entry["rows"]
    return reasons
