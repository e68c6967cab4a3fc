"""Items and events, validated: each row becomes kept, quarantined or a duplicate.

What is demanded of them is the contract (`contract`). A row is quarantined only when it cannot be
used; a bad value that an item or event can do without is taken out or cut and the row is kept.
Such repairs are listed in the quarantine table too, with `row_kept` true.

Nothing is done here about rows that tell of the same thing: see `duplicates`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import narwhals as nw

from vitrina.lake import values
from vitrina.lake.codes import ITEM, KIND, Names
from vitrina.lake.contract import COLUMNS, IN_CATALOG, IS_OBJECT, IS_TYPE, RULES, Table, Terms
from vitrina.lake.engine import LIST_SEPARATOR, ROW, Engine, Frame
from vitrina.lake.mapping import INCOMING
from vitrina.lake.readers.raw import FILE, RAW_CHARS

COLUMN: Final = "_column"
REASON: Final = "_reason"
RAW: Final = "_raw"
"""Of a row that cannot be used: the column at fault, why, and the row as `name=value` pairs."""
REPAIRED: Final = "_repaired_"
"""Prefix of a boolean for each column that can be repaired."""
NOTED: Final = "_noted"
"""Boolean: whether anything is wrong with a row."""


def check_items(engine: Engine, mapped: Frame, *, max_text_chars: int, latest: datetime) -> Frame:
    """Items that keep the contract or say how they break it, one for each mapped row.

    mapped: what `mapping.map_columns` returns. latest: the last moment (UTC, without zone) that
    is not the future.
    Returns `_file`, `_row`, the columns of ITEM_INPUTS, REASON and COLUMN (null for a good row),
    RAW (null for a row without fault or repair), NOTED, and a REPAIRED boolean for each column of
    which the contract may take out a value.
    """
    frame = engine.mark_json_objects(mapped, "attributes", IS_OBJECT)
    checked = _judged(frame, "items", max_text_chars=max_text_chars, latest=latest)
    return checked.with_columns(nw.col("created_at").cast(nw.Datetime("us", "UTC")))


def check_events(mapped: Frame, *, names: Names, latest: datetime) -> Frame:
    """Events, one for each mapped row: what `check_items` returns, for EVENT_COLUMNS, and of what
    `names` has also ITEM and KIND.

    names: of the catalog and the known types. latest: the last moment (UTC, without zone) that is
    not the future.
    """
    frame = names.encode(mapped, how="left").with_columns(
        **{IN_CATALOG: ~nw.col(ITEM).is_null(), IS_TYPE: ~nw.col(KIND).is_null()}
    )
    return _judged(frame, "events", latest=latest, beside=(ITEM, KIND))


def _judged(
    frame: Frame,
    table: Table,
    *,
    max_text_chars: int = 0,
    latest: datetime = datetime.max,
    beside: Collection[str] = (),
) -> Frame:
    """Name the first fault of each row and its repairs, and spell out the rows that have any."""
    types = frame.collect_schema()
    terms = Terms(
        given=lambda name: values.is_given(INCOMING + name, types[INCOMING + name]),
        max_text_chars=max_text_chars,
        latest=latest,
    )
    columns, rules = COLUMNS[table], RULES[table]
    column, reason = nw.lit(None, nw.String), nw.lit(None, nw.String)
    flags = []
    for rule in reversed(rules):
        broken = rule.broken(terms)
        if rule.takes == "row":
            column = nw.when(broken).then(nw.lit(rule.column)).otherwise(column)
            reason = nw.when(broken).then(nw.lit(rule.reason)).otherwise(reason)
        else:
            flags.append(broken.fill_null(False).alias(REPAIRED + rule.column))
    frame = frame.with_columns(column.alias(COLUMN), reason.alias(REASON), *flags)
    # After the flags, for those look at the values that are taken out here.
    frame = frame.with_columns(
        **{
            rule.column: nw.when(nw.col(REPAIRED + rule.column))
            .then(rule.instead(terms))
            .otherwise(nw.col(rule.column))
            for rule in rules
            if rule.instead
        }
    )
    repaired = [REPAIRED + rule.column for rule in rules if rule.takes == "value"]
    noted = nw.any_horizontal(~nw.col(REASON).is_null(), *repaired, ignore_nulls=True)
    frame = frame.with_columns(noted.alias(NOTED))
    frame = frame.with_columns(
        nw.when(nw.col(NOTED)).then(nw.col(INCOMING + name)).alias(INCOMING + name)
        for name in columns
    )
    frame = values.spelled(frame, {INCOMING + name: types[INCOMING + name] for name in columns})
    return frame.select(
        FILE,
        ROW,
        COLUMN,
        REASON,
        nw.when(nw.col(NOTED)).then(_as_given(columns)).alias(RAW),
        NOTED,
        *repaired,
        *columns,
        *beside,
    )


def _as_given(columns: Collection[str]) -> nw.Expr:
    """A row as the file has it, in `name=value` pairs under our names."""
    pairs = []
    for name in columns:
        shown = nw.col(INCOMING + name).cast(nw.String).str.slice(0, RAW_CHARS)
        shown = shown.str.replace_all(LIST_SEPARATOR, ", ", literal=True)
        pairs.append(nw.concat_str([nw.lit(f"{name}="), shown]))
    return nw.concat_str(pairs, separator=" | ", ignore_nulls=True).str.slice(0, RAW_CHARS)
