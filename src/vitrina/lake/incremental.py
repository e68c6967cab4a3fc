"""New events into the events of the last set: what changes, and nothing else.

The result is, row for row, what a full run over all files makes. Three things make that so:

    places      an event keeps the file and row it came from, so that of two rows that are one
                event the same one wins, whichever came first;
    duplicates  rows that lost are kept aside (`duplicates.parquet`): when the row they lost
                against loses itself, they may win;
    sessions    only visits that a changed event lies in, or close to, are cut again, each whole.

Looking for duplicates reads a column of ids of the old events; otherwise only months that change
are read, and only those are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import narwhals as nw

from vitrina.lake.codes import Names
from vitrina.lake.duplicates import PLACE, RANK, SAME, one_of_each, place_of, repetitions
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.partitions import months_of, scan_months, with_zone, without_zone
from vitrina.lake.readers.raw import FILE
from vitrina.lake.sessions import sessionise
from vitrina.lake.shoppers import START, distinct, event_id, own_event_id, shopper_key
from vitrina.lake.tables import scan_stored, table_at
from vitrina.lake.timeline import Timeline, make_timeline
from vitrina.schema import EVENT_COLUMNS

FIRST: Final = "_first"
"""Of a duplicate: whether it is the first of its event_id."""
CHECKED: Final = (*EVENT_COLUMNS, FILE, ROW)
"""The columns of an event before its session is cut, and of a duplicate."""
STORED: Final = (*EVENT_COLUMNS, START, FILE, ROW)
"""The columns of the events in a set; `scan_table` shows those of EVENT_COLUMNS."""
REMOVED: Final = (FILE, ROW, "timestamp", "user_id", "session_id")
"""Of an event that is taken out: where it is and whose it was."""

_ORIGIN: Final = "_origin"
_KEPT, _DUPLICATE, _NEW = 0, 1, 2
_HERE: Final = (FILE, ROW)


@dataclass(frozen=True, slots=True)
class EventTables:
    """The events and their duplicates of all files together.

    months: those that differ from the last set's. duplicates: the whole table.
    """

    months: list[str]
    duplicates: Frame


@dataclass(frozen=True, slots=True)
class FirstTables(EventTables):
    """Those of a full run. timeline: all events."""

    timeline: Timeline


@dataclass(frozen=True, slots=True)
class MergedTables(EventTables):
    """Those of a run on top of the last set.

    added, removed: rows to put into the last set's events, as STORED, and rows to take out of them
    (REMOVED), with moments in UTC without zone.
    """

    added: Frame
    removed: Frame


def first_tables(engine: Engine, rows: Frame, names: Names, gap: timedelta) -> FirstTables:
    """Events and duplicates of good rows that are all there are.

    rows: EVENT_COLUMNS with moments in UTC without zone, for item_id and event_type ITEM and KIND
    of `names`; FILE, ROW, RANK and PLACE.
    """
    kept, lost = rows, []
    if engine.collect(rows.select(nw.col("event_id").count()))[0][0].as_py():
        named = names.decode(rows)
        by_id = repetitions(engine, named.with_columns(event_id=event_id()), ["event_id"])
        lost.append(_marked(named.join(by_id, on=PLACE, how="semi"), first=False))
        kept = named.join(by_id, on=PLACE, how="anti").with_columns(event_id=own_event_id())
    timeline = make_timeline(engine, kept, names, gap)
    repeated = names.decode(rows.join(timeline.repeated, on=PLACE, how="semi"))
    lost.append(_marked(repeated, first=True))
    return FirstTables(
        months=months_of(engine, rows),  # those of what is left out, too: it tells of the same
        duplicates=engine.persist(nw.concat(lost)),
        timeline=timeline,
    )


def merged_tables(
    engine: Engine, last: Path, rows: Frame, order: Frame, gap: timedelta
) -> MergedTables:
    """Events and duplicates of the set in `last`, and of new good rows.

    rows: as in `first_tables`, with item_id and event_type. order: FILE and RANK of each file.
    """
    new = engine.persist(_with_shopper(rows).with_columns(event_id=event_id()))
    old = scan_stored(engine, last, "events")
    duplicates = scan_stored(engine, last, "duplicates")

    ids = distinct(new, "event_id")
    met = engine.persist(
        nw.concat(
            [
                _again(old.join(ids, on="event_id", how="semi"), order, _KEPT),
                _again(duplicates.join(ids, on="event_id", how="semi"), order, _DUPLICATE),
                _pooled(new, _NEW),
            ]
        )
    )
    same, ids = distinct(met, *SAME), distinct(met, "event_id")
    near = scan_months(engine, table_at(last, "events"), months_of(engine, met))
    near = near.with_columns(event_id=event_id())
    alike = [
        _again(frame.join(ids, on="event_id", how="anti"), order, origin)
        for frame, origin in ((near, _KEPT), (duplicates.filter(FIRST), _DUPLICATE))
    ]
    others = engine.persist(
        nw.concat([frame.join(same, on=list(SAME), how="semi") for frame in alike])
    )
    first = nw.concat([one_of_each(met, ["event_id"], "first"), others])
    kept = engine.persist(one_of_each(first, SAME, "first"))

    pool = nw.concat([met, others])
    lost = engine.persist(pool.join(kept.select(PLACE), on=PLACE, how="anti"))
    removed = lost.filter(nw.col(_ORIGIN) == _KEPT)
    added = kept.filter(nw.col(_ORIGIN) != _KEPT)
    left = duplicates.join(pool.select(*_HERE), on=list(_HERE), how="anti")
    firsts = first.select(PLACE)
    table = [
        left.select(*CHECKED, FIRST),
        _marked(lost.join(firsts, on=PLACE, how="semi"), first=True),
        _marked(lost.join(firsts, on=PLACE, how="anti"), first=False),
    ]

    recut, replaced = _recut(engine, old, added, removed, gap)
    none = nw.lit(None, nw.Datetime("us")).alias(START)
    named = added.filter(~nw.col("session_id").is_null()).with_columns(none).select(*STORED)
    added = nw.concat([named, recut])
    added = engine.persist(added.with_columns(event_id=own_event_id()))
    removed = engine.persist(nw.concat([removed.select(*REMOVED), replaced]))
    changed = nw.concat([removed.select("timestamp"), added.select("timestamp")])
    duplicates = engine.persist(nw.concat(table))
    return MergedTables(months_of(engine, changed), duplicates, added, removed)


def _recut(
    engine: Engine, old: Frame, added: Frame, removed: Frame, gap: timedelta
) -> tuple[Frame, Frame]:
    """Sessions around what was added and removed, cut again.

    Returns the events that are new or now have another session, and REMOVED of the old ones that
    these replace.
    """
    unnamed = nw.col("session_id").is_null()
    changed = nw.concat(
        [frame.filter(unnamed).select("user_id", "timestamp") for frame in (added, removed)]
    )
    moment = nw.col("timestamp")
    spans = (
        changed.group_by("user_id")
        .agg(_from=moment.min(), _to=moment.max())
        .with_columns(nw.col("_from") - nw.lit(gap), nw.col("_to") + nw.lit(gap))
    )
    cut = without_zone(old).filter(unnamed)
    close = cut.join(spans, on="user_id").filter(
        (moment >= nw.col("_from")) & (moment <= nw.col("_to"))
    )
    visits = distinct(close, "user_id", START)
    whole = engine.persist(cut.join(visits, on=["user_id", START], how="semi"))
    rows = nw.concat(
        [
            whole.join(removed.select(*_HERE), on=list(_HERE), how="anti").select(*CHECKED),
            added.filter(unnamed).select(*CHECKED),
        ]
    )
    before = whole.select(*_HERE, _before=START)
    again = sessionise(engine, rows, gap).join(before, on=list(_HERE), how="left")
    same = (nw.col("_before") == nw.col(START)).fill_null(False)
    again = engine.persist(again.filter(~same))
    replaced = again.filter(~nw.col("_before").is_null())
    return again.select(*STORED), replaced.select(*REMOVED)


def _with_shopper(rows: Frame) -> Frame:
    return rows.with_columns(_shopper=shopper_key())


def _again(rows: Frame, order: Frame, origin: int) -> Frame:
    """Stored rows as they were before their sessions were cut, with their PLACE."""
    rows = without_zone(rows).join(order, on=FILE)
    rows = rows.with_columns(place_of(nw.col(RANK)).alias(PLACE))
    return _pooled(_with_shopper(rows), origin)


def _pooled(rows: Frame, origin: int) -> Frame:
    return rows.select(*CHECKED, PLACE, "_shopper", nw.lit(origin).alias(_ORIGIN))


def _marked(lost: Frame, *, first: bool) -> Frame:
    """Duplicates as stored, in whole: with their ids, and with their mark FIRST."""
    lost = with_zone(lost).with_columns(nw.lit(first).alias(FIRST), event_id=event_id())
    return lost.select(*CHECKED, FIRST)
