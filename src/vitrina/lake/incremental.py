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

from vitrina.lake.duplicates import PLACE, SAME, identified, one_of_each
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.partitions import months_of, scan_months
from vitrina.lake.readers.raw import FILE
from vitrina.lake.sessions import sessionise
from vitrina.lake.tables import scan_stored, table_at
from vitrina.schema import EVENT_COLUMNS

NAMED: Final = "_named"
"""Whether the shop named the event's session; else the lake cut it."""
FIRST: Final = "_first"
"""Of a duplicate: whether it is the first of its event_id."""
STORED: Final = (*EVENT_COLUMNS, NAMED, FILE, ROW)
"""The columns of the events in a set; `scan_table` shows those of EVENT_COLUMNS."""

RANK: Final = "_rank"
"""int64: the place of a file among all files, by address."""

_ORIGIN: Final = "_origin"
_KEPT, _DUPLICATE, _NEW = 0, 1, 2
_HERE: Final = (FILE, ROW)
_NAIVE: Final = nw.Datetime("us")
_UTC: Final = nw.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class EventTables:
    """The events and their duplicates of all files together.

    added, removed: rows to put into the last set's events and (FILE and ROW of) rows to take out
    of them. months: those that differ from the last set's. duplicates: the whole table.
    """

    added: Frame
    removed: Frame | None
    months: list[str]
    duplicates: Frame


def first_tables(engine: Engine, rows: Frame, gap: timedelta) -> EventTables:
    """Events and duplicates of good rows that are all there are.

    rows: EVENT_COLUMNS with moments in UTC without zone, FILE, ROW and PLACE.
    """
    rows = engine.persist(_prepared(rows))
    first = one_of_each(rows, ["event_id"], "first")
    kept = engine.persist(one_of_each(first, SAME, "first"))
    events = engine.persist(_stored(sessionise(kept, gap)))
    lost = _lost(engine, rows, kept).select(*STORED, FIRST)
    return EventTables(events, None, months_of(engine, events), lost)


def merged_tables(
    engine: Engine, last: Path, rows: Frame, order: Frame, gap: timedelta
) -> EventTables:
    """Events and duplicates of the set in `last`, and of new good rows.

    rows: as in `first_tables`. order: FILE and RANK of each file.
    """
    new = engine.persist(_prepared(rows))
    old = scan_stored(engine, last, "events")
    duplicates = scan_stored(engine, last, "duplicates")

    ids = new.select("event_id").unique()
    met = engine.persist(
        nw.concat(
            [
                _again(old.join(ids, on="event_id", how="semi"), order, _KEPT),
                _again(duplicates.join(ids, on="event_id", how="semi"), order, _DUPLICATE),
                _pooled(new, _NEW),
            ]
        )
    )
    same = met.select(*SAME).unique()
    near = scan_months(engine, table_at(last, "events"), months_of(engine, met))
    alike = [
        _again(
            frame.join(met.select("event_id").unique(), on="event_id", how="anti"), order, origin
        )
        for frame, origin in ((near, _KEPT), (duplicates.filter(FIRST), _DUPLICATE))
    ]
    others = engine.persist(
        nw.concat([frame.join(same, on=list(SAME), how="semi") for frame in alike])
    )
    first = nw.concat([one_of_each(met, ["event_id"], "first"), others])
    kept = engine.persist(one_of_each(first, SAME, "first"))

    pool = nw.concat([met, others])
    lost = _lost(engine, pool, kept)
    removed = lost.filter(nw.col(_ORIGIN) == _KEPT)
    added = kept.filter(nw.col(_ORIGIN) != _KEPT)
    left = duplicates.join(pool.select(*_HERE), on=list(_HERE), how="anti")
    table = nw.concat([_naive(left).select(*STORED, FIRST), lost.select(*STORED, FIRST)])

    recut, replaced = _recut(engine, old, added, removed, gap)
    added = engine.persist(nw.concat([_stored(added.filter(NAMED)), recut]))
    removed = engine.persist(nw.concat([removed.select(*_HERE, "timestamp"), replaced]))
    changed = nw.concat([_utc(removed).select("timestamp"), added.select("timestamp")])
    return EventTables(added, removed, months_of(engine, changed), table)


def _recut(
    engine: Engine, old: Frame, added: Frame, removed: Frame, gap: timedelta
) -> tuple[Frame, Frame]:
    """Sessions around what was added and removed, cut again.

    Returns the events that are new or now have another session, as stored, and the (FILE, ROW,
    timestamp) of the old ones that these replace.
    """
    changed = nw.concat([frame.select("user_id", "timestamp", NAMED) for frame in (added, removed)])
    moment = nw.col("timestamp")
    spans = (
        changed.filter(~nw.col(NAMED))
        .group_by("user_id")
        .agg(_from=moment.min(), _to=moment.max())
        .with_columns(nw.col("_from") - nw.lit(gap), nw.col("_to") + nw.lit(gap))
    )
    cut = _naive(old).filter(~nw.col(NAMED))
    close = cut.join(spans, on="user_id").filter(
        (moment >= nw.col("_from")) & (moment <= nw.col("_to"))
    )
    visits = close.select("user_id", "session_id").unique()
    whole = engine.persist(cut.join(visits, on=["user_id", "session_id"], how="semi"))
    rows = nw.concat(
        [
            whole.join(removed.select(*_HERE), on=list(_HERE), how="anti").select(*STORED),
            added.filter(~nw.col(NAMED)).select(*STORED),
        ]
    ).with_columns(session_id=nw.lit(None, nw.String))
    before = whole.select(*_HERE, _session="session_id")
    again = sessionise(rows, gap).join(before, on=list(_HERE), how="left")
    same = (nw.col("_session") == nw.col("session_id")).fill_null(False)
    again = engine.persist(again.filter(~same))
    return _stored(again), again.filter(~nw.col("_session").is_null()).select(*_HERE, "timestamp")


def _prepared(rows: Frame) -> Frame:
    named = ~nw.col("session_id").is_null()
    return identified(rows).with_columns(named.alias(NAMED))


def _again(rows: Frame, order: Frame, origin: int) -> Frame:
    """Stored rows as they were before their sessions were cut, with their PLACE."""
    rows = _naive(rows).join(order, on=FILE)
    session = nw.when(nw.col(NAMED)).then(nw.col("session_id"))
    place = place_of(nw.col(RANK))
    return _pooled(identified(rows.with_columns(session_id=session, **{PLACE: place})), origin)


def place_of(rank: nw.Expr) -> nw.Expr:
    """PLACE of a row: by the rank of its file, then by ROW."""
    return rank * 2**40 + nw.col(ROW)


def _pooled(rows: Frame, origin: int) -> Frame:
    return rows.select(*STORED, PLACE, "_shopper", nw.lit(origin).alias(_ORIGIN))


def _lost(engine: Engine, rows: Frame, kept: Frame) -> Frame:
    """The rows that are not kept, each with its mark FIRST."""
    lost = engine.persist(rows.join(kept.select(PLACE), on=PLACE, how="anti"))
    rivals = rows.join(lost.select("event_id").unique(), on="event_id", how="semi")
    first = one_of_each(rivals, ["event_id"], "first").select(PLACE, nw.lit(True).alias(FIRST))
    marked = lost.join(first, on=PLACE, how="left")
    return engine.persist(marked.with_columns(nw.col(FIRST).fill_null(False)))


def _stored(events: Frame) -> Frame:
    return _utc(events).select(*STORED)


def _utc(events: Frame) -> Frame:
    return events.with_columns(nw.col("timestamp").cast(_UTC))


def _naive(events: Frame) -> Frame:
    return events.with_columns(nw.col("timestamp").cast(_NAIVE))
