"""All events in the order of shoppers and then of moments: sorted once, for all that needs it.

In that order rows that tell of one event follow one another, a visit is what lies between two
pauses, and what a shopper did is a sequence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.codes import ITEM, KEY, KIND, SHOPPER, Codes, Names
from vitrina.lake.duplicates import PLACE, RANK, place_of
from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.readers.raw import FILE
from vitrina.lake.sessions import CUT, add_starts
from vitrina.lake.shoppers import START, shopper_key
from vitrina.schema import EVENT_COLUMNS

OPTIONAL: Final = ("event_id", "session_id", "device_type", "value", "request_id", "position")
"""Columns of events that may be empty as a whole; then they take no room here."""

_ORDER: Final = (SHOPPER, "timestamp", ITEM, KIND, RANK, ROW)
_ANONYMOUS: Final = "_anonymous"
_REPEATED: Final = "_repeated"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events in the order of shopper, moment, item and event type.

    events: SHOPPER, ITEM, KIND (of `codes`), timestamp, START, FILE, ROW and columns of OPTIONAL;
    arranged (`Engine.arrange`) in this order.
    repeated: PLACE of the rows left out, which tell of an event again.
    """

    events: Frame
    repeated: Frame
    codes: Codes

    def stored(self) -> Frame:
        """The events table: EVENT_COLUMNS, START, FILE and ROW, with numbers for `codes.words`."""
        types = self.events.collect_schema()
        empty = {
            name: nw.lit(None, {"float64": nw.Float64, "int64": nw.Int64}.get(kind, nw.String))
            for name, kind in EVENT_COLUMNS.items()
            if name not in types
        }
        known = nw.when(~nw.col(_ANONYMOUS)).then(nw.col(SHOPPER))
        numbers = {"user_id": known, "item_id": nw.col(ITEM), "event_type": nw.col(KIND)}
        events = self.events.with_columns(**(empty | numbers))
        return events.select(*EVENT_COLUMNS, START, FILE, ROW)


def make_timeline(engine: Engine, rows: Frame, names: Names, gap: timedelta) -> Timeline:
    """Put events in order, find those told again, and cut the sessions.

    rows: EVENT_COLUMNS with moments in UTC without zone, for item_id and event_type ITEM and KIND
    of `names`; FILE, ROW and RANK; none of them with the event_id of another.
    """
    given = given_columns(engine, rows)
    anonymous = nw.col("user_id").is_null().alias(_ANONYMOUS)
    keyed = rows.with_columns(shopper_key().alias(KEY), anonymous)
    codes = Codes.of(engine, keyed, names)
    coded = codes.encode(keyed).select(*_ORDER, FILE, _ANONYMOUS, *given)
    marked = _mark_repeated(engine, engine.arrange(coded, _ORDER))
    mine = ~nw.col(_REPEATED)
    if "session_id" in given:
        mine &= nw.col("session_id").is_null()
    marked = marked.with_columns(nw.when(mine).then(nw.col("timestamp")).alias(CUT))
    events = engine.shared(add_starts(engine, marked, _ORDER, gap).drop(CUT))
    return Timeline(
        events.filter(~nw.col(_REPEATED)).drop(_REPEATED, RANK),
        events.filter(nw.col(_REPEATED)).select(place_of(nw.col(RANK)).alias(PLACE)),
        codes,
    )


def given_columns(engine: Engine, rows: Frame) -> list[str]:
    """Those of OPTIONAL that have a value anywhere."""
    counted = engine.collect(rows.select(*(nw.col(name).count() for name in OPTIONAL)))
    return [name for name in OPTIONAL if counted[name][0].as_py()]


def _mark_repeated(engine: Engine, arranged: Frame) -> Frame:
    """Add whether the row before tells of the same event."""
    same: Collection[str] = ("timestamp", ITEM, KIND)
    before = {f"_before_{name}": name for name in same}
    rows = engine.previous(arranged, _ORDER, before)
    repeated = nw.all_horizontal(
        *(nw.col(into) == nw.col(name) for into, name in before.items()), ignore_nulls=False
    )
    return rows.with_columns(repeated.fill_null(False).alias(_REPEATED)).drop(*before)
