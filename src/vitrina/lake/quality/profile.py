"""The figures of a set of tables: computed once at its ingest, kept beside it as quality.json.

All of them are Narwhals expressions, on whichever engine; what is fetched is small whatever the
number of events. The page, the fitness of the data and their tests read the same JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import narwhals as nw

from vitrina.lake.contract import UNKNOWN_ITEM
from vitrina.lake.engine import Engine, Frame
from vitrina.lake.quality.bots import RULES
from vitrina.lake.quality.categories import category_figures
from vitrina.lake.quality.distribution import distribution
from vitrina.lake.quality.prices import price_figures
from vitrina.schema import EVENT_COLUMNS, ITEM_COLUMNS

FORMAT: Final = 1
"""Of quality.json. A page is never made of another format's figures."""

OPTIONAL_OF_EVENTS: Final = (
    "user_id",
    "session_id",
    "device_type",
    "value",
    "request_id",
    "position",
)
"""Columns that a kept event may lack; the contract fills the others."""
LENGTHS: Final[Mapping[str, timedelta]] = {
    "a moment": timedelta(0),
    "under 1 min": timedelta(minutes=1),
    "1–5 min": timedelta(minutes=5),
    "5–15 min": timedelta(minutes=15),
    "15–30 min": timedelta(minutes=30),
    "30–60 min": timedelta(hours=1),
    "1–3 h": timedelta(hours=3),
}
"""Classes of session lengths and the longest that each holds; what is longer follows them."""
LONGER: Final = "longer"
EXAMPLES_OF_A_REASON: Final = 3
BOTS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Tables:
    """One set of tables as frames of one engine; activity as `activity` makes it of events."""

    items: Frame
    events: Frame
    quarantine: Frame
    bots: Frame
    activity: Frame


def profile(
    engine: Engine, tables: Tables, report: Mapping[str, Any], weights: Mapping[str, float]
) -> dict[str, Any]:
    """All figures of the report, as JSON holds them.

    report: the ingest's (`IngestReport.to_json`). weights: of the event types in training.
    """
    per_item = engine.persist(tables.events.group_by("item_id").agg(events=nw.len()))
    return {
        "format": FORMAT,
        "tables": {
            name: {
                **report[name],
                "missing": _missing(engine, frame, columns, report[name]["kept"]),
            }
            for name, frame, columns in (
                ("items", tables.items, list(ITEM_COLUMNS)),
                ("events", tables.events, list(OPTIONAL_OF_EVENTS)),
            )
        },
        "columns": {"items": list(ITEM_COLUMNS), "events": list(EVENT_COLUMNS)},
        "examples": _examples(engine, tables.quarantine),
        "first": report["first_event"],
        "last": report["last_event"],
        "days": _days(engine, tables.activity),
        "types": _types(engine, tables.activity, weights),
        "shoppers": _shoppers(engine, tables.activity),
        "items": {
            **distribution(engine, per_item),
            "catalog": report["items"]["kept"],
            "unknown": report["events"]["quarantined"].get(f"item_id: {UNKNOWN_ITEM}", 0),
        },
        "sessions": _sessions(engine, tables.activity),
        "prices": price_figures(engine, tables.items),
        "categories": category_figures(engine, tables.items, per_item),
        "bots": _bots(engine, tables),
    }


def _missing(
    engine: Engine, frame: Frame, columns: list[str], rows: int
) -> dict[str, dict[str, float]]:
    """How many rows lack each column, and their share."""
    nulls = frame.select(
        *(nw.col(name).is_null().cast(nw.Int64).sum().cast(nw.Int64) for name in columns)
    )
    counted = engine.collect(nulls).to_pylist()[0]
    return {
        name: {"rows": missing or 0, "share": (missing or 0) / max(1, rows)}
        for name, missing in counted.items()
    }


def _examples(engine: Engine, quarantine: Frame) -> list[dict[str, Any]]:
    """The first few rows of each reason, by file and row; not their text, which may be personal."""
    kinds = ("table", "column", "reason", "row_kept")
    number = nw.col("reason").cum_count().over(*kinds, order_by=["file", "row"])
    first = quarantine.with_columns(number=number).filter(nw.col("number") <= EXAMPLES_OF_A_REASON)
    order = [*kinds, "file", "row"]
    rows: list[dict[str, Any]] = engine.collect(first.select(*order).sort(*order)).to_pylist()
    return rows


def _days(engine: Engine, activity: Frame) -> list[dict[str, Any]]:
    """Events of each type and active shoppers of each day (UTC) that has any."""
    types = activity.group_by("day", "event_type").agg(events=nw.col("events").sum().cast(nw.Int64))
    shoppers = activity.group_by("day").agg(shoppers=nw.col("key").n_unique())
    days: dict[str, dict[str, Any]] = {
        row["day"].isoformat(): {"shoppers": row["shoppers"], "events": {}}
        for row in engine.collect(shoppers.sort("day")).to_pylist()
    }
    for row in engine.collect(types.sort("day", "event_type")).to_pylist():
        days[row["day"].isoformat()]["events"][row["event_type"]] = row["events"]
    return [{"day": day, **figures} for day, figures in days.items()]


def _types(engine: Engine, activity: Frame, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """Events and shoppers of each type, the commonest first."""
    types = activity.group_by("event_type").agg(
        events=nw.col("events").sum().cast(nw.Int64), shoppers=nw.col("key").n_unique()
    )
    rows = engine.collect(types.sort("events", "event_type", descending=[True, False]))
    return [
        {
            "type": row["event_type"],
            "events": row["events"],
            "shoppers": row["shoppers"],
            "weight": weights.get(row["event_type"], 0.0),
        }
        for row in rows.to_pylist()
    ]


def _shoppers(engine: Engine, activity: Frame) -> dict[str, Any]:
    """Events of a shopper, and how many are known by name and how many came back."""
    each = engine.persist(
        activity.group_by("key").agg(
            events=nw.col("events").sum().cast(nw.Int64),
            anonymous=nw.col("anonymous").cast(nw.Int64).max(),
            days=nw.col("day").n_unique(),
        )
    )
    totals = engine.collect(
        each.select(
            anonymous=nw.col("anonymous").sum().cast(nw.Int64),
            returning=(nw.col("days") > 1).cast(nw.Int64).sum().cast(nw.Int64),
        )
    ).to_pylist()[0]
    return {**distribution(engine, each), **totals}


def _sessions(engine: Engine, activity: Frame) -> dict[str, Any]:
    """Events and lengths of the sessions."""
    each = engine.persist(
        activity.group_by("key", "session_id").agg(
            events=nw.col("events").sum().cast(nw.Int64),
            first=nw.col("first").min(),
            last=nw.col("last").max(),
        )
    )
    length = nw.col("last") - nw.col("first")
    name = nw.lit(LONGER)
    for label, longest in reversed(list(LENGTHS.items())):
        name = nw.when(length <= nw.lit(longest)).then(nw.lit(label)).otherwise(name)
    counted = each.with_columns(length=name).group_by("length").agg(sessions=nw.len())
    of_length = {row["length"]: row["sessions"] for row in engine.collect(counted).to_pylist()}
    return {
        **distribution(engine, each),
        "lengths": [
            {"length": label, "sessions": of_length.get(label, 0)} for label in (*LENGTHS, LONGER)
        ],
    }


def _bots(engine: Engine, tables: Tables) -> dict[str, Any]:
    """How many shoppers were flagged by which rule, what share of the events is theirs."""
    keys = tables.bots.select("key").unique()
    theirs = engine.persist(
        tables.activity.join(keys, on="key", how="semi")
        .group_by("key")
        .agg(events=nw.col("events").sum().cast(nw.Int64))
    )
    totals = engine.collect(
        theirs.select(shoppers=nw.len(), events=nw.col("events").sum().cast(nw.Int64).fill_null(0))
    ).to_pylist()[0]
    by_reason = engine.collect(tables.bots.group_by("reason").agg(shoppers=nw.len()))
    flagged = {row["reason"]: row["shoppers"] for row in by_reason.to_pylist()}
    busiest = theirs.sort("events", "key", descending=[True, False]).head(BOTS_SHOWN)
    shown = engine.collect(
        tables.bots.join(busiest, on="key").sort(
            "events", "key", "reason", descending=[True, False, False]
        )
    ).to_pylist()
    return {
        "shoppers": totals["shoppers"],
        "events": totals["events"],
        "rules": [
            {
                "reason": name,
                "rule": rule.sentence,
                "unit": rule.unit,
                "shoppers": flagged.get(name, 0),
            }
            for name, rule in RULES.items()
        ],
        "shown": [{**row, "since": row["since"].isoformat()} for row in shown],
    }
