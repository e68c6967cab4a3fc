"""How far one column's distribution has moved, as the population stability index.

PSI = Σ (b − a) · ln(b / a) over the bins of a column, with a and b the shares of the rows before
and after (Siddiqi, "Credit Risk Scorecards", 2006; it is Jeffreys' divergence of the two). The
field reads it so, and so do we: below 0.1 the column is stable, up to 0.25 it has moved, above
that it has shifted. Rows without a value are a bin of their own. Numbers fall into the deciles of
A; of texts the commonest of A and of B have a bin each, and the others share one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import narwhals as nw
import numpy as np

from vitrina.lake.engine import Engine, Frame

MOVED: Final = 0.1
SHIFTED: Final = 0.25
DECILES: Final = tuple(share / 10 for share in range(1, 10))
COMMONEST: Final = 40
"""Distinct texts of each side that have bins of their own."""
MISSING: Final = "(missing)"
OTHERS: Final = "(others)"
HALF_A_ROW: Final = 0.5
"""What an empty bin counts as: a share of 0 has no logarithm."""

Verdict = Literal["stable", "moved", "shifted"]


@dataclass(frozen=True, slots=True)
class Shift:
    """One column's change. missing_a, missing_b: shares of rows without a value.

    bins: {"bin", "a", "b"} with the shares of the rows.
    """

    table: str
    column: str
    psi: float
    verdict: Verdict
    missing_a: float
    missing_b: float
    bins: list[dict[str, Any]]


def shift_of_numbers(engine: Engine, table: str, column: str, a: Frame, b: Frame) -> Shift | None:
    """The shift of a numeric column; None where neither side has a value. NaN counts as missing."""
    value = nw.col(column).cast(nw.Float64)
    a, b = (side.select(value=nw.when(value.is_finite()).then(value)) for side in (a, b))
    found = engine.collect(
        a.select(
            *(
                nw.col("value").quantile(share, "linear").alias(f"q{number}")
                for number, share in enumerate(DECILES)
            )
        )
    ).to_pylist()[0]
    edges = sorted({edge for edge in found.values() if edge is not None})
    bin_ = sum(((nw.col("value") > edge).cast(nw.Int64) for edge in edges), start=nw.lit(0))
    bin_ = nw.when(~nw.col("value").is_null()).then(bin_.cast(nw.String))
    sides = [_counts(engine, side.with_columns(value=bin_)) for side in (a, b)]
    return _shift(table, column, sides, _ranges(edges))


def shift_of_texts(engine: Engine, table: str, column: str, a: Frame, b: Frame) -> Shift | None:
    """The shift of a column of texts or truths; None where neither side has a value."""
    frames = [side.select(value=nw.col(column).cast(nw.String)) for side in (a, b)]
    named: set[str] = set()
    for frame in frames:
        counted = frame.filter(~nw.col("value").is_null()).group_by("value").agg(rows=nw.len())
        top = counted.sort("rows", "value", descending=[True, False]).head(COMMONEST)
        named.update(engine.collect(top.select("value"))["value"].to_pylist())
    value = nw.col("value")
    known = nw.when(value.is_null() | value.is_in(sorted(named))).then(value)
    sides = [
        _counts(engine, frame.with_columns(value=known.otherwise(nw.lit(OTHERS))))
        for frame in frames
    ]
    return _shift(table, column, sides, {name: name for name in [*sorted(named), OTHERS]})


def stability_index(a: Sequence[int], b: Sequence[int]) -> float:
    """PSI of two rows of counts, bin by bin; 0 where a side is empty."""
    if not sum(a) or not sum(b):
        return 0.0
    before, after = (
        np.maximum(np.array(side, np.float64), HALF_A_ROW) / sum(side) for side in (a, b)
    )
    return float(np.sum((after - before) * np.log(after / before)))


def verdict_of(psi: float) -> Verdict:
    """What an index means."""
    return "stable" if psi < MOVED else "moved" if psi <= SHIFTED else "shifted"


def _counts(engine: Engine, frame: Frame) -> dict[str | None, int]:
    counted = engine.collect(frame.group_by("value").agg(rows=nw.len())).to_pylist()
    return {row["value"]: row["rows"] for row in counted}


def _shift(
    table: str, column: str, sides: list[dict[str | None, int]], names: Mapping[str, str]
) -> Shift | None:
    """names: what each bin is called, in order."""
    if all(set(side) <= {None} for side in sides):
        return None
    bins: list[tuple[str, int, int]] = [
        (name, sides[0].get(bin_, 0), sides[1].get(bin_, 0))
        for bin_, name in [*names.items(), (None, MISSING)]
    ]
    bins = [bin_ for bin_ in bins if bin_[1] or bin_[2]]
    rows = [max(1, sum(side.values())) for side in sides]
    psi = stability_index([bin_[1] for bin_ in bins], [bin_[2] for bin_ in bins])
    missing = [side.get(None, 0) / count for side, count in zip(sides, rows, strict=True)]
    return Shift(
        table=table,
        column=column,
        psi=round(psi, 4),
        verdict=verdict_of(psi),
        missing_a=missing[0],
        missing_b=missing[1],
        bins=[{"bin": name, "a": a / rows[0], "b": b / rows[1]} for name, a, b in bins],
    )


def _ranges(edges: list[float]) -> dict[str, str]:
    """Names of the bins between edges, an edge belonging to the bin below it."""
    if not edges:
        return {"0": "any"}
    middle = [f"{low:,.4g} to {high:,.4g}" for low, high in pairwise(edges)]
    names = [f"up to {edges[0]:,.4g}", *middle, f"above {edges[-1]:,.4g}"]
    return {str(number): name for number, name in enumerate(names)}
