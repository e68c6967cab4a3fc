"""Shoppers that behave like no person: found by stated rules, left out of what is learnt.

An *action* is all that one shopper did at one moment: the lines of a basket, which share their
till's timestamp, are one action, so that a large shopping never looks like haste. Days are UTC.
A shopper (a user, or an anonymous session) is flagged when, on any one day,

    rate     more than 300 actions fall into ten minutes of the clock: one every two seconds;
    volume   there are more than 3,000 actions, or more than 20,000 events however they are timed;
    clock    there are actions in at least 23 of the day's hours;
    rhythm   more than 200 pauses under ten minutes between actions are all alike: their standard
             deviation is less than a tenth of their mean plus 0.3 seconds, which is what the
             rounding of moments to seconds alone can add.

Days with 200 actions or fewer are never looked at. What is flagged is a robot, a test account, or
many people under one id ("guest", "0"); none of them is a taste that a recommender should learn.

`bots.parquet` has a row for each shopper and broken rule: key (history key), reason (the rule),
figure and limit (the worst day's, in the rule's unit), since (UTC: the end of the first such day).
Training for a moment leaves out those flagged before it, never by what they did later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.lake.shoppers import shopper_key

BUSY_DAY: Final = 200
RATE_LIMIT: Final = 300
VOLUME_LIMIT: Final = 3_000
EVENTS_LIMIT: Final = 20_000
HOURS_LIMIT: Final = 23
TEN_MINUTES: Final = 6_000
"""In tenths of a second, as all times here: of whole numbers engines make the same sums."""
ROUNDING: Final = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as people read it. unit: what its figure counts."""

    sentence: str
    unit: str


RULES: Final[Mapping[str, Rule]] = {
    "rate": Rule(
        f"more than {RATE_LIMIT:,} actions within ten minutes of the clock",
        "actions in ten minutes",
    ),
    "volume": Rule(f"more than {VOLUME_LIMIT:,} actions in one day", "actions in a day"),
    "batch": Rule(f"more than {EVENTS_LIMIT:,} events in one day", "events in a day"),
    "clock": Rule(f"actions in at least {HOURS_LIMIT} hours of one day", "hours of a day"),
    "rhythm": Rule(
        f"more than {BUSY_DAY:,} pauses in one day that are all alike: standard deviation under a "
        "tenth of the mean plus 0.3 s",
        "seconds of deviation",
    ),
}


def find_bots(engine: Engine, events: Frame, activity: Frame) -> Frame:
    """The rows of bots.parquet, in no order. activity: that of `activity` for these events."""
    busy = (
        activity.group_by("key", "day")
        .agg(events=nw.col("events").sum())
        .filter(nw.col("events") > BUSY_DAY)
    )
    keys = engine.persist(busy.select("key").unique())
    days = engine.persist(_days(engine, events, keys))
    spread = nw.col("pauses") * nw.col("squares") - nw.col("pause") * nw.col("pause")
    allowed = nw.col("pause") + 10 * ROUNDING * nw.col("pauses")
    broken = {
        "rate": (nw.col("busiest"), nw.lit(RATE_LIMIT), nw.col("busiest") > RATE_LIMIT),
        "volume": (nw.col("actions"), nw.lit(VOLUME_LIMIT), nw.col("actions") > VOLUME_LIMIT),
        "batch": (nw.col("events"), nw.lit(EVENTS_LIMIT), nw.col("events") > EVENTS_LIMIT),
        "clock": (
            nw.col("hours"),
            nw.lit(HOURS_LIMIT),
            (nw.col("hours") >= HOURS_LIMIT) & (nw.col("actions") > BUSY_DAY),
        ),
        "rhythm": (
            spread.sqrt() / nw.col("pauses") / 10,
            allowed / nw.col("pauses") / 100,
            (nw.col("pauses") > BUSY_DAY) & (100 * spread < allowed * allowed),
        ),
    }
    rows = nw.concat(
        [
            days.filter(condition).select(
                "key",
                "day",
                reason=nw.lit(reason),
                figure=figure.cast(nw.Float64),
                limit=limit.cast(nw.Float64),
            )
            for reason, (figure, limit, condition) in broken.items()
        ]
    )
    first = rows.group_by("key", "reason").agg(day=nw.col("day").min())
    return rows.join(first, on=["key", "reason", "day"], how="semi").select(
        "key",
        "reason",
        "figure",
        "limit",
        since=(nw.col("day").cast(nw.Datetime("us")) + nw.lit(timedelta(days=1))).cast(
            nw.Datetime("us", "UTC")
        ),
    )


def known_bots(bots: Frame, *, before: datetime | None) -> Frame:
    """The keys of the shoppers flagged before a moment; None counts every flag.

    bots: bots.parquet. before: the moment of prediction.
    """
    if before is not None:
        bots = bots.filter(nw.col("since") <= nw.lit(before))
    return bots.select("key").unique()


def without_bots(events: Frame, bots: Frame, *, before: datetime | None) -> Frame:
    """The events, which have their shopper's `key`, of those not flagged before `before`.

    bots: bots.parquet. before: the moment of prediction; None counts every flag.
    """
    return events.join(known_bots(bots, before=before), on="key", how="anti")


def _days(engine: Engine, events: Frame, keys: Frame) -> Frame:
    """What each of `keys` did on each day that they did much.

    Columns: key, day, actions, events, hours (of the day with actions), busiest (actions of the
    fullest ten minutes), and of the pauses between actions that are no interruption: pauses
    (count), pause and squares (sum, and sum of squares, of their tenths of a second).
    """
    actions = (
        events.select(key=shopper_key(), moment=nw.col("timestamp").cast(nw.Datetime("us")))
        .join(keys, on="key", how="semi")
        .group_by("key", "moment")
        .agg(events=nw.len())
    )
    moment = nw.col("moment").dt
    second = moment.hour().cast(nw.Int64) * 3_600 + moment.minute() * 60 + moment.second()
    actions = engine.persist(
        actions.with_columns(
            day=nw.col("moment").cast(nw.Date),
            tenth=second * 10 + moment.microsecond().cast(nw.Int64) // 100_000,
        )
    )
    before = nw.col("tenth").shift(1).over("key", "day", order_by="moment")
    pause = nw.col("tenth") - before
    pauses = (
        actions.with_columns(pause=pause)
        .filter(nw.col("pause") <= TEN_MINUTES)
        .with_columns(square=nw.col("pause") * nw.col("pause"))
        .group_by("key", "day")
        .agg(
            # Of whole numbers, so exact and alike on all engines; their products outgrow int64.
            pauses=nw.len().cast(nw.Float64),
            pause=nw.col("pause").sum().cast(nw.Float64),
            squares=nw.col("square").sum().cast(nw.Float64),
        )
    )
    windows = (
        actions.with_columns(window=nw.col("tenth") // TEN_MINUTES)
        .group_by("key", "day", "window")
        .agg(actions=nw.len().cast(nw.Int64), events=nw.col("events").sum().cast(nw.Int64))
    )
    return (
        windows.with_columns(hour=nw.col("window") // 6)
        .group_by("key", "day")
        .agg(
            actions=nw.col("actions").sum().cast(nw.Int64),
            events=nw.col("events").sum().cast(nw.Int64),
            busiest=nw.col("actions").max(),
            hours=nw.col("hour").n_unique(),
        )
        .filter(nw.col("events") > BUSY_DAY)
        .join(pauses, on=["key", "day"], how="left")
    )
