"""Visits: which events of a shopper belong together."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.engine import ROW, Engine, Frame
from vitrina.lake.readers.raw import FILE

_START: Final = "_start"


def sessionise(engine: Engine, events: Frame, gap: timedelta) -> Frame:
    """Give each event without a session_id the session of its user and time.

    A user's events without session_id, in time order, belong to one session as long as the pause
    between one and the next is at most `gap`. The id is made of the user and the session's first
    moment, so that the same events always get the same id. Events that have a session_id keep it
    and do not bridge the pauses of those that have none. FILE and ROW tell the events apart.
    """
    missing = events.filter(nw.col("session_id").is_null())
    starts = engine.persist(_starts(missing.select(FILE, ROW, "user_id", "timestamp"), gap))
    # By the moment, too: whoever wants the events of one month then looks up only its starts.
    cut = events.join(starts, on=[FILE, ROW, "timestamp"], how="left")
    start = nw.col(_START).dt.to_string("%Y%m%dT%H%M%S")
    made = nw.concat_str(["user_id", start], separator="@")
    return cut.with_columns(session_id=nw.coalesce("session_id", made)).drop(_START)


def _starts(events: Frame, gap: timedelta) -> Frame:
    """FILE, ROW and timestamp of each event, and the first moment of its session."""
    # The order must be total: both windows have to see equal moments in the same order.
    order = ["timestamp", FILE, ROW]
    moment = nw.col("timestamp")
    events = events.with_columns(_before=moment.shift(1).over("user_id", order_by=order))
    begins = nw.col("_before").is_null() | (moment - nw.col("_before") > nw.lit(gap))
    events = events.with_columns(nw.when(begins).then(moment).alias(_START))
    start = nw.col(_START).fill_null(strategy="forward").over("user_id", order_by=order)
    return events.select(FILE, ROW, "timestamp", start.alias(_START))
