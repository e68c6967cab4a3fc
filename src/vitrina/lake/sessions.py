"""Visits: which events of a shopper belong together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.readers.raw import FILE
from vitrina.lake.shoppers import START

CUT: Final = "_cut"
"""Moment of an event whose session is to be cut; null for the others."""


def sessionise(engine: Engine, events: Frame, gap: timedelta) -> Frame:
    """Add START to each event: see `add_starts`. FILE and ROW tell the events apart."""
    order = ("user_id", "timestamp", FILE, ROW)
    missing = events.filter(nw.col("session_id").is_null())
    named = events.filter(~nw.col("session_id").is_null())
    arranged = engine.arrange(missing.with_columns(nw.col("timestamp").alias(CUT)), order)
    cut = add_starts(engine, arranged, order, gap).drop(CUT)
    none = nw.lit(None, nw.Datetime("us")).alias(START)
    return nw.concat([cut, named.with_columns(none).select(*cut.collect_schema())])


def add_starts(engine: Engine, arranged: Frame, order: Sequence[str], gap: timedelta) -> Frame:
    """Add START: the first moment of the session of each event that has a CUT.

    A shopper's events with CUT, in time order, belong to one session as long as the pause between
    one and the next is at most `gap`. Events without it do not bridge the pauses of the others.
    arranged: by `engine.arrange` in `order`, which is that of shoppers and then of moments.
    """
    moment = nw.col(CUT)
    events = engine.latest(arranged, order, CUT, "_last")
    events = engine.previous(events, order, {"_before": "_last"})
    begins = nw.col("_before").is_null() | (moment - nw.col("_before") > nw.lit(gap))
    events = events.with_columns(nw.when(begins).then(moment).alias("_begin"))
    events = engine.latest(events, order, "_begin", START)
    cut = nw.when(~moment.is_null()).then(nw.col(START))
    return events.drop("_last", "_before", "_begin").with_columns(cut.alias(START))
