"""Whether the data can make a recommender at all: every condition that says no, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import narwhals as nw

from vitrina.errors import UnfitData
from vitrina.lake.engine import Engine, Frame
from vitrina.lake.quality.bots import without_bots
from vitrina.lake.report import TableReport

MIN_ITEMS: Final = 2
MIN_SHOPPERS: Final = 10
"""With fewer, whatever is learnt is the memory of those few; and nobody is left to test on."""

UNCHANGED: Final = "The lake was left as it was."


@dataclass(frozen=True, slots=True)
class Fitness:
    """What is left to learn from: events of types that teach (weight above 0), without bots.

    items: distinct ones, bots' included. returning: shoppers with events at two moments or more.
    first, last: moments, null without events.
    """

    all_shoppers: int
    events: int
    items: int
    shoppers: int
    returning: int
    first: datetime | None
    last: datetime | None


def measure(
    engine: Engine,
    events: Frame,
    activity: Frame,
    bots: Frame,
    weights: Mapping[str, float],
) -> Fitness:
    """Count what is left to learn from. weights: of the event types in training."""
    teaching = sorted(name for name, weight in weights.items() if weight > 0)
    each = engine.persist(
        activity.filter(nw.col("event_type").is_in(teaching))
        .group_by("key")
        .agg(
            events=nw.col("events").sum().cast(nw.Int64),
            first=nw.col("first").min(),
            last=nw.col("last").max(),
        )
    )
    people = without_bots(each, bots, before=None)
    counted: dict[str, Any] = engine.collect(
        people.select(
            events=nw.col("events").sum().cast(nw.Int64).fill_null(0),
            shoppers=nw.len(),
            returning=(nw.col("last") > nw.col("first")).cast(nw.Int64).sum().cast(nw.Int64),
            first=nw.col("first").min(),
            last=nw.col("last").max(),
        )
    ).to_pylist()[0]
    taught = events.filter(nw.col("event_type").is_in(teaching))
    return Fitness(
        all_shoppers=engine.collect(each.select(nw.len()))[0][0].as_py(),
        items=engine.collect(taught.select(nw.col("item_id").n_unique()))[0][0].as_py(),
        **counted | {"returning": counted["returning"] or 0},
    )


def require_rows(table: str, report: TableReport) -> None:
    """No recommender is made of no items or no events. Raises UnfitData, naming the reason."""
    if report.kept:
        return
    if report.quarantined:
        reason, rows = max(report.quarantined.items(), key=lambda entry: entry[1])
        why = f"none of {report.read:,} rows can be used; most often ({rows:,}): {reason}"
    else:
        why = "the files hold no rows"
    raise UnfitData(f"There are no {table} to learn from: {why}. {UNCHANGED}")


def require_fit(found: Fitness) -> None:
    """Raise UnfitData, saying what was found and what to do, unless a recommender is possible."""
    if (sentence := _obstacle(found)) is not None:
        raise UnfitData(f"{sentence} {UNCHANGED}")


def _obstacle(found: Fitness) -> str | None:
    if not found.all_shoppers:
        return (
            "No event is of a type that teaches anything: all have weight 0. Give one of the "
            "shop's types a weight above 0, in [events] of vitrina.toml."
        )
    if not found.shoppers:
        return (
            f"All {found.all_shoppers:,} shoppers behave like bots, so nobody is left to learn "
            "from. Does user_id name one account for all visitors? Read a session_id instead."
        )
    if found.items < MIN_ITEMS:
        return (
            f"All {found.events:,} events are of one item: there is nothing to choose between. "
            "Check which column item_id is read from."
        )
    if found.shoppers < MIN_SHOPPERS:
        return (
            f"{_shoppers(found.shoppers)} something that teaches; a recommender needs "
            f"at least {MIN_SHOPPERS}. Ingest a longer period, or check which column user_id is "
            "read from."
        )
    if found.first == found.last:
        return (
            f"All {found.events:,} events happened at one moment ({found.first:%Y-%m-%d %H:%M:%S} "
            "UTC): there is no past to learn from and no future to predict. Check which column "
            "timestamp is read from, and its unit."
        )
    if found.returning < MIN_SHOPPERS:
        return (
            f"Of {found.shoppers:,} shoppers, {found.returning or 'none'} did something at two "
            f"different moments; at least {MIN_SHOPPERS} have to, for what comes next is learnt "
            "from what went before. Check whether user_id stays the same from visit to visit, and "
            "whether timestamp has the time."
        )
    return None


def _shoppers(count: int) -> str:
    return "Only one shopper did" if count == 1 else f"Only {count} shoppers did"
