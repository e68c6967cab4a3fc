"""From the shop's columns to ours: names, units, time zones, event types.

Applied once, to raw rows of any format. A column that the map of a source does not name is
matched by name. Values that cannot be converted become null, and the contract (`contract`) says
what follows; what the file had stays beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import narwhals as nw

from vitrina.errors import DataError
from vitrina.lake import values
from vitrina.lake.contract import COLUMNS, REQUIRED, Table
from vitrina.lake.engine import LIST_SEPARATOR, ROW, Frame, frame_name
from vitrina.lake.readers.raw import FILE, RawTable, Wanted, column_key
from vitrina.schema import CATEGORY_SEPARATOR
from vitrina.settings_sources import ColumnMap, Source, hide_passwords

INCOMING: Final = "_in_"
"""Prefix of a column as the file has it."""
ADDEND: Final = "_add_"
JOINED: Final = "_join_"
"""Prefixes of a column that is added to a moment, and of one that makes up a text with others."""


@dataclass(frozen=True, slots=True)
class SourceMap:
    """What the columns of one source became: for reports.

    source: its addresses, as they are configured. files: those read.
    columns: our column -> what it was read from, in words. Those that no file had are not in it.
    """

    source: str
    files: list[str]
    columns: dict[str, str]


def wanted(table: Table, source: Source) -> Wanted:
    """What a reader has to bring of a source, and what its files may not lack."""
    maps = _maps(table, source)
    columns = dict.fromkeys(frame_name(name) for column in maps.values() for name in column.needs)
    required = []
    for choice in REQUIRED[table]:
        # A constant needs no column. Of several columns that make up one, any is enough.
        if all(maps[name].theirs for name in choice if name in maps):
            names = [
                frame_name(theirs)
                for name in choice
                if name in maps
                for theirs in maps[name].theirs
            ]
            required.append(names)
    return Wanted(source, list(columns), required)


def map_columns(raw: Frame, table: Table, source: Source) -> Frame:
    """Raw rows of one file under our names, typed, in the order of our columns.

    Returns `_file`, `_row`, each of our columns (null where it cannot be read: text, float64,
    int64, bool, or datetime without zone in UTC), and each under INCOMING as the file has it
    (null where it has nothing there).
    """
    ours = COLUMNS[table]
    maps = _found(_maps(table, source), raw.collect_schema().names())
    nothing = nw.lit(None, nw.String)
    types = raw.collect_schema()
    raw = _with_parts(raw, maps.values())
    incoming = [
        (_incoming(name, maps[name], types) if name in maps else nothing).alias(INCOMING + name)
        for name in ours
    ]
    addends = {name: column.add for name, column in maps.items() if column.add}
    frame = raw.select(
        FILE,
        ROW,
        *incoming,
        *(nw.col(frame_name(add.column)).alias(ADDEND + name) for name, add in addends.items()),
    )
    types = frame.collect_schema()
    texts = [INCOMING + name for name, kind in ours.items() if kind in ("string", "bool")]
    frame = values.spelled(frame, {name: types[name] for name in texts})
    types = frame.collect_schema()
    constant = ColumnMap(value="")
    moments = [name for name, kind in ours.items() if kind == "timestamp"]
    typed = {
        name: _typed(name, kind, maps.get(name, constant), types[INCOMING + name])
        for name, kind in ours.items()
        if kind != "timestamp"
    }
    if source.event_types and "event_type" in typed:
        typed["event_type"] = _renamed(typed["event_type"], source.event_types)
    frame = frame.with_columns(**typed)
    for name in moments:
        column = maps.get(name, constant)
        unit = column.unit if isinstance(column.unit, str) else None
        frame = values.add_moment(
            frame, INCOMING + name, types[INCOMING + name], name, unit=unit, zone=column.zone
        )
    for name, add in addends.items():
        micros = values.duration_micros(ADDEND + name, types[ADDEND + name], add.unit)
        frame = frame.with_columns(micros.alias(ADDEND + name))
        frame = frame.with_columns(values.later(nw.col(name), nw.col(ADDEND + name)).alias(name))
    return frame.select(FILE, ROW, *ours, *(INCOMING + name for name in ours))


def lacking(raw: Frame, table: Table, source: Source) -> list[str]:
    """Those of our columns that `map_columns` finds nothing for in a file."""
    found = _found(_maps(table, source), raw.collect_schema().names())
    return [name for name in COLUMNS[table] if name not in found]


def mapped_columns(
    raw: RawTable, table: Table, sources: Sequence[Source], *, whole: bool
) -> list[SourceMap]:
    """What each source's columns became.

    whole: whether these are all files of the sources; then DataError is raised when a source's
    map names a column that none of them has.
    """
    found: list[set[str]] = [set() for _ in sources]
    files: list[list[str]] = [[] for _ in sources]
    for number, frame in raw.frames.items():
        place = raw.files[number].wanted
        found[place].update(frame.collect_schema().names())
        files[place].append(raw.files[number].address)
    described = []
    for source, names, addresses in zip(sources, found, files, strict=True):
        if not addresses:
            continue
        for ours, column in source.columns.items() if whole else ():
            for theirs in column.needs:
                if frame_name(theirs) not in names:
                    raise DataError(
                        f"No file of {', '.join(source.files)} has the column '{theirs}', which "
                        f"columns.{ours} in [lake] of vitrina.toml names. Correct the name, or "
                        f"leave out '{ours}'."
                    )
        maps = _found(_maps(table, source), names)
        columns = {name: describe(column) for name, column in maps.items()}
        named = hide_passwords(", ".join(source.files))
        described.append(SourceMap(named, addresses, columns))
    return described


def joined_maps(
    earlier: Sequence[Mapping[str, Any]], now: Sequence[SourceMap]
) -> list[dict[str, Any]]:
    """What the columns became of files that were read earlier (of a report), and now."""
    joined = {each["source"]: dict(each) for each in earlier}
    for each in now:
        before = joined.get(each.source, {"files": [], "columns": {}})
        joined[each.source] = {
            "source": each.source,
            "files": [*before["files"], *each.files],
            "columns": {**before["columns"], **each.columns},
        }
    for source in joined.values():
        source["files"] = sorted(source["files"], key=lambda address: address.split("/"))
    return list(joined.values())


def describe(column: ColumnMap) -> str:
    """A map in words: `at (ms, Europe/Berlin)`, `department, category`, `always view`."""
    if not column.theirs:
        return f"always {column.value}"
    notes = []
    if column.unit is not None:
        notes.append(f"× {column.unit:g}" if isinstance(column.unit, float) else column.unit)
    if column.zone != "UTC":
        notes.append(column.zone)
    if column.separator:
        notes.append(f"levels between '{column.separator}'")
    if column.decimal:
        notes.append(f"decimal mark '{column.decimal}'")
    if column.add:
        notes.append(f"plus {column.add.column} in {column.add.unit}")
    return ", ".join(column.theirs) + (f" ({', '.join(notes)})" if notes else "")


def _maps(table: Table, source: Source) -> dict[str, ColumnMap]:
    """The map of each of our columns: the source's own, else our name for it.

    A name of theirs that the source's map reads is not matched with ours besides.
    """
    taken = {column_key(theirs) for column in source.columns.values() for theirs in column.needs}
    return {
        name: source.columns.get(name, ColumnMap(column=name))
        for name in COLUMNS[table]
        if name in source.columns or name not in taken
    }


def _found(maps: Mapping[str, ColumnMap], found: Collection[str]) -> dict[str, ColumnMap]:
    """The maps of which a file has any column, without the columns that it lacks."""
    kept = {}
    for name, column in maps.items():
        theirs = [each for each in column.theirs if frame_name(each) in found]
        if theirs or not column.theirs:
            add = column.add if column.add and frame_name(column.add.column) in found else None
            short = theirs[0] if len(column.theirs) == 1 else theirs or None
            kept[name] = column.model_copy(update={"column": short, "add": add})
    return kept


def _with_parts(raw: Frame, maps: Collection[ColumnMap]) -> Frame:
    """The columns that make up a text with others, once more as texts under JOINED."""
    parts = {
        frame_name(theirs) for column in maps if len(column.theirs) > 1 for theirs in column.theirs
    }
    if not parts:
        return raw
    types = raw.collect_schema()
    raw = raw.with_columns(**{JOINED + name: nw.col(name) for name in parts})
    return values.spelled(raw, {JOINED + name: types[name] for name in parts})


def _incoming(ours: str, column: ColumnMap, types: Mapping[str, nw.dtypes.DType]) -> nw.Expr:
    if not column.theirs:
        value = column.value
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return nw.lit(text or None, nw.String)
    if len(column.theirs) == 1:
        return nw.col(frame_name(column.theirs[0]))
    names = [frame_name(theirs) for theirs in column.theirs]
    texts = [values.text(JOINED + name, types[name]) for name in names]
    separator = LIST_SEPARATOR if ours == "category_path" else " "
    joined = nw.concat_str(texts, separator=separator, ignore_nulls=True)
    return nw.when(joined != "").then(joined).otherwise(None)


def _typed(name: str, kind: str, column: ColumnMap, dtype: nw.dtypes.DType) -> nw.Expr:
    incoming = INCOMING + name
    if kind == "float64":
        number = values.number(incoming, dtype, column.decimal)
        return _scaled(number, column.unit) if isinstance(column.unit, float) else number
    if kind == "int64":
        return values.integer(incoming, dtype)
    if kind == "bool":
        return values.boolean(incoming, dtype)
    if name == "category_path":
        return _levels(values.text(incoming, dtype), column.separator)
    return values.text(incoming, dtype, lists=name == "attributes")


def _scaled(number: nw.Expr, factor: float) -> nw.Expr:
    # 1299 × 0.01 is 12.99 only nearly; 1299 / 100 is as near as a float can be.
    inverse = round(1 / factor)
    if factor < 1 and abs(inverse * factor - 1) < 1e-12:
        return number / inverse
    return number * factor


def _levels(text: nw.Expr, separator: str | None) -> nw.Expr:
    """A category path as ours: its levels between " > ", empty ones left out."""
    if separator is not None:
        text = text.str.replace_all(separator, LIST_SEPARATOR, literal=True)
    blank = "[ \t\r\n]*"
    path = text.str.replace_all(f"({blank}[>{LIST_SEPARATOR}])+{blank}", CATEGORY_SEPARATOR)
    path = path.str.strip_chars(" >")
    return nw.when(path != "").then(path).otherwise(None)


def _renamed(text: nw.Expr, names: Mapping[str, str]) -> nw.Expr:
    """Their event types as ours; the others as they are."""
    renamed = text
    for theirs, ours in names.items():
        renamed = nw.when(text == theirs).then(nw.lit(ours)).otherwise(renamed)
    return renamed
