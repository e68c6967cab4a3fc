"""Columns of the catalog that know the future: a number of clicks that counts those still to come.

No code computes such a column, the shop supplies it, so no other future can change it. It gives
itself away by what it says about the events after the moment that the events before cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from vitrina.evaluation.leakage.check import Check
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import scan_table

SUSPECT_SHARE: Final = 0.2
"""The future may explain this share of what the past leaves unexplained. A trait that makes items
sell, such as a low price, stays far below, a count of what was to come far above."""
CERTAINTY: Final = 1e-4
"""Chance that an innocent column looks suspect (F test)."""
LEAST_ITEMS: Final = 30
RECENT: Final = timedelta(days=28)
SOON: Final = (0.125, 0.25, 0.5)
"""Shares of the time after the moment: a count may have been taken before it is over."""


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Events of each item, float64: before and after the moment, by type [items, types]; in the
    28 days before it, of all types [items, 1]; in each of SOON of the time after it, of all types
    [items, len(SOON)].
    """

    before: NDArray[np.float64]
    recent: NDArray[np.float64]
    soon: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hindsight:
    """past: share of a column's variance that counts before the moment explain. future: share of
    the rest that counts after it explain, adjusted for their number. chance: that it comes out as
    high without a reason."""

    items: int
    past: float
    future: float
    chance: float

    @property
    def suspect(self) -> bool:
        return self.future >= SUSPECT_SHARE and self.chance < CERTAINTY


def check_columns(lake: Path, catalog: CatalogTable, moment_us: int) -> list[Check]:
    """A check for each numeric column and attribute of the catalog, as known at the moment."""
    counts = event_counts(lake, catalog.item_ids, moment_us)
    found = {name: hindsight(values, counts) for name, values in numeric_columns(catalog)}
    return [
        Check(
            subject=f"catalog: {name}",
            against="counts of events",
            numbers=one.items,
            difference=one.future,
            sentence=_sentence(name, one) if one.suspect else "",
        )
        for name, one in found.items()
        if one is not None
    ]


def _sentence(name: str, found: Hindsight) -> str:
    return (
        f"The catalog's '{name}' knows the future: events before the moment explain "
        f"{found.past:.1%} of it, and events after it {found.future:.1%} of the rest, over "
        f"{found.items:,} items. It looks like a count that was taken later. Leave it out of the "
        "source, or give its value as it was at the moment."
    )


def numeric_columns(catalog: CatalogTable) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each numeric column by name, float64 [items], NaN where unknown.

    Those of `attributes` by their path; numbers written as text are numbers.
    """
    yield "price", catalog.price.astype(np.float64)
    yield "available", catalog.available.astype(np.float64)
    columns: dict[str, NDArray[np.float64]] = {}
    for row, attributes in enumerate(catalog.attributes):
        for path, value in _leaves(attributes, "attributes"):
            if path not in columns:
                columns[path] = np.full(len(catalog), np.nan)
            columns[path][row] = value
    yield from sorted(columns.items())


def _leaves(content: Mapping[str, Any], path: str) -> Iterator[tuple[str, float]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.{name}")
        elif isinstance(value, bool | int | float | str):
            try:
                yield f"{path}.{name}", float(value)
            except ValueError:
                continue


def event_counts(lake: Path, item_ids: Sequence[str], moment_us: int) -> EventCounts:
    """The counts of `item_ids`, which are sorted, from the lake's events table."""
    moment = to_datetime(moment_us)
    time = nw.col("timestamp")
    with DuckDBEngine() as engine:
        events = scan_table(engine, lake, "events")
        last: datetime = engine.collect(events.select(last=time.max()))["last"][0].as_py()
        later = time >= nw.lit(moment)
        windows = {
            "before": ~later,
            "recent": ~later & (time >= nw.lit(moment - RECENT)),
            **{
                f"soon_{place}": later & (time < nw.lit(moment + share * (last - moment)))
                for place, share in enumerate(SOON)
            },
            "after": later,
        }
        counted = engine.collect(
            events.with_columns(**{name: inside.cast(nw.Int64) for name, inside in windows.items()})
            .group_by("item_id", "event_type")
            .agg(*(nw.col(name).sum().cast(nw.Int64) for name in windows))
        )
    rows = np.searchsorted(np.array(item_ids), np.array(counted["item_id"].to_pylist()))
    types, column = np.unique(np.array(counted["event_type"].to_pylist()), return_inverse=True)
    counts = np.zeros((len(windows), len(item_ids), len(types)))
    for place, name in enumerate(windows):
        counts[place, rows, column] = counted[name].to_numpy()
    before, recent, *soon, after = counts
    return EventCounts(
        before=before,
        recent=recent.sum(axis=1, keepdims=True),
        soon=np.column_stack([window.sum(axis=1) for window in soon]),
        after=after,
    )


def hindsight(values: NDArray[np.float64], counts: EventCounts) -> Hindsight | None:
    """How much better a column is explained if the future is known, by two linear regressions.

    values float64 [items], NaN where unknown. Counts and values are taken as logarithms; the second
    regression has counts after the moment, and sums of both, beside those before it. None where too
    few items have a value, or all have the same.
    """
    known = np.isfinite(values)
    if known.sum() < LEAST_ITEMS or np.ptp(values[known]) == 0:
        return None
    target = np.sign(values[known]) * np.log1p(np.abs(values[known]))
    before, after = _with_sum(counts.before[known]), _with_sum(counts.after[known])
    logs, recent = np.log1p(before), np.log1p(counts.recent[known])
    past = np.column_stack([np.ones(len(target)), logs, logs**2, before > 0, recent])
    soon = counts.soon[known]
    future = np.log1p(np.column_stack([after, before + after, soon, before[:, -1:] + soon]))
    total = float(((target - target.mean()) ** 2).sum())
    without, freedom_without = _unexplained(past, target)
    with_future, freedom = _unexplained(np.column_stack([past, future]), target)
    added = freedom_without - freedom
    if freedom < LEAST_ITEMS or added < 1 or without <= 1e-9 * total:
        return Hindsight(int(known.sum()), 1.0 - without / total, 0.0, 1.0)
    ratio = (max(without - with_future, 0.0) / added) / max(with_future / freedom, 1e-300)
    return Hindsight(
        items=int(known.sum()),
        past=1.0 - without / total,
        future=max(1.0 - (with_future / freedom) / (without / freedom_without), 0.0),
        chance=float(f_distribution.sf(ratio, added, freedom)),
    )


def _with_sum(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([counts, counts.sum(axis=1)])


def _unexplained(design: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, int]:
    """Sum of squared residuals, and the degrees of freedom that are left."""
    coefficients, _, rank, _ = np.linalg.lstsq(design, target, rcond=1e-10)
    residuals = target - design @ coefficients
    return float(residuals @ residuals), len(target) - int(rank)
