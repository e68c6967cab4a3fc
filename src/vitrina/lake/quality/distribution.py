"""How unevenly events fall on items, shoppers or sessions, from how many have how many."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from vitrina.lake.engine import Engine, Frame

HEADS: Final = (0.01, 0.1, 0.2)
"""The best-off shares of the members whose part of all events is stated."""
CURVE_POINTS: Final = 80


@dataclass(frozen=True, slots=True)
class Distribution:
    """Events over n members (items, shoppers or sessions with at least one event).

    mean to max: events of a member. gini: 0 when all have alike, towards 1 when one has all.
    heads: {"members": share of the members, "events": their share of the events}, best-off first.
    single: members with one event only. curve: (rank, events) of the members ranked by events.
    """

    members: int
    events: int
    mean: float
    median: int
    p90: int
    p99: int
    max: int
    single: int
    gini: float
    heads: list[dict[str, float]]
    curve: list[tuple[int, int]]


def distribution(engine: Engine, counts: Frame) -> dict[str, Any]:
    """The `Distribution`, as JSON holds it. counts: a row a member, with its `events`.

    Only the frequencies of frequencies are fetched: n events make at most √(2n) of them.
    """
    table = engine.collect(
        counts.group_by("events").agg(members=nw.len()).sort("events", descending=True)
    )
    values = table["events"].to_numpy().astype(np.int64)
    return asdict(describe(values, table["members"].to_numpy().astype(np.int64)))


def describe(values: NDArray[np.int64], members: NDArray[np.int64]) -> Distribution:
    """values [v]: distinct numbers of events, largest first; members [v]: how many have each."""
    if not len(values):
        return Distribution(0, 0, 0.0, 0, 0, 0, 0, 0, 0.0, [], [])
    ranks = np.cumsum(members)
    total = np.cumsum(values * members)
    n, events = int(ranks[-1]), int(total[-1])

    def at(rank: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Events of the member of this rank, the first being 1."""
        found: NDArray[np.int64] = values[np.searchsorted(ranks, rank)]
        return found

    def quantile(share: float) -> int:
        return int(at(n - max(1, int(np.ceil(share * n))) + 1))

    def head(share: float) -> float:
        # Whole members: the head of few members is at least one.
        rank = max(1, round(share * n))
        place = int(np.searchsorted(ranks, rank))
        before = (int(ranks[place - 1]), int(total[place - 1])) if place else (0, 0)
        return (before[1] + (rank - before[0]) * int(values[place])) / events

    points = np.unique(np.geomspace(1, n, CURVE_POINTS).round().astype(np.int64))
    return Distribution(
        members=n,
        events=events,
        mean=events / n,
        median=quantile(0.5),
        p90=quantile(0.9),
        p99=quantile(0.99),
        max=int(values[0]),
        single=int(members[values == 1].sum()),
        gini=_gini(values, members, total),
        heads=[{"members": share, "events": head(share)} for share in HEADS],
        curve=[(int(rank), int(count)) for rank, count in zip(points, at(points), strict=True)],
    )


def _gini(values: NDArray[np.int64], members: NDArray[np.int64], total: NDArray[np.int64]) -> float:
    """Twice the area between the Lorenz curve and the diagonal, by trapezoids."""
    share = np.concatenate([[0.0], total / total[-1]])
    width = members / members.sum()
    # Largest first, the curve lies above the diagonal.
    area = float(np.sum(width * (share[1:] + share[:-1]) / 2))
    return 2 * area - 1
