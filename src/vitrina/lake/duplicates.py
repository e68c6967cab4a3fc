"""Which of several rows that tell of one thing is kept.

Rows have a PLACE: by the addresses of the files, then by the row in the file. Of several items
with one item_id the newest is kept (by `observed_at`; none means now), of these the last. Of
several events with one event_id the first is kept; of these, of several with the same shopper,
item, type and moment again the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import narwhals as nw

from vitrina.lake.engine import ROW, Engine, Frame

PLACE: Final = "_place"
"""int64: orders the rows of a table as above; no two have the same."""

RANK: Final = "_rank"
"""int64: the place of a file among all files, by address."""

SAME: Final = ("_shopper", "item_id", "event_type", "timestamp")
"""What two events have in common that are one event under two ids."""

_NOW: Final = datetime(8999, 12, 31)


def place_of(rank: nw.Expr) -> nw.Expr:
    """PLACE of a row: by the rank of its file, then by ROW."""
    return rank * 2**40 + nw.col(ROW)


def unique_items(rows: Frame) -> Frame:
    """The newest row of each item."""
    rows = rows.with_columns(_observed=nw.coalesce(nw.col("observed_at"), nw.lit(_NOW)))
    newest = rows.group_by("item_id").agg(nw.col("_observed").max())
    rows = rows.join(newest, on=["item_id", "_observed"], how="semi").drop("_observed")
    return one_of_each(rows, ["item_id"], "last")


def repetitions(engine: Engine, rows: Frame, keys: Sequence[str]) -> Frame:
    """PLACE of each row that is not the first with its `keys`; kept by the engine."""
    # Few rows repeat. Counting finds their keys; a second aggregate over all rows is dear.
    counted = rows.group_by(*keys).agg(_rows=nw.len())
    repeated = engine.persist(counted.filter(nw.col("_rows") > 1).drop("_rows"))
    alike = engine.persist(rows.select(PLACE, *keys).join(repeated, on=list(keys), how="semi"))
    first = (
        alike.group_by(*keys).agg(_first=nw.col(PLACE).min()).select(nw.col("_first").alias(PLACE))
    )
    return engine.persist(alike.select(PLACE).join(first, on=PLACE, how="anti"))


def one_of_each(frame: Frame, keys: Sequence[str], which: Literal["first", "last"]) -> Frame:
    """One row for each value of `keys`: the first or last by PLACE."""
    # A grouped minimum and a semi-join: several times faster than a window over whole rows.
    place = nw.col(PLACE).min() if which == "first" else nw.col(PLACE).max()
    chosen = frame.group_by(list(keys)).agg(place).select(PLACE)
    return frame.join(chosen, on=PLACE, how="semi")
