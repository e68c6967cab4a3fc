"""Visits: which events of a shopper belong together."""

from __future__ import annotations

from datetime import timedelta

import narwhals as nw

from vitrina.lake.engine import Frame


def sessionise(events: Frame, gap: timedelta) -> Frame:
    """Give each event without a session_id the session of its user and time.

    A user's events without session_id, in time order, belong to one session as long as the pause
    between one and the next is at most `gap`. The id is made of the user and the session's first
    moment, so that the same events always get the same id. Events that have a session_id keep it
    and do not bridge the pauses of those that have none. Needs event_id to be unique.
    """
    given = events.filter(~nw.col("session_id").is_null())
    missing = events.filter(nw.col("session_id").is_null())
    # The order must be total: both windows below have to see equal moments in the same order.
    order = ["timestamp", "event_id"]
    moment = nw.col("timestamp")
    missing = missing.with_columns(_before=moment.shift(1).over("user_id", order_by=order))
    starts = nw.col("_before").is_null() | (moment - nw.col("_before") > nw.lit(gap))
    missing = missing.with_columns(_start=nw.when(starts).then(moment))
    start = nw.col("_start").fill_null(strategy="forward").over("user_id", order_by=order)
    name = nw.concat_str(["user_id", start.dt.to_string("%Y%m%dT%H%M%S")], separator="@")
    named = missing.with_columns(session_id=name).drop("_before", "_start")
    return nw.concat([given, named])
