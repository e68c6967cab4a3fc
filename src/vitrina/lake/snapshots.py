"""The catalog's history: what each item cost and whether it was to be had, at any moment.

`snapshots.parquet` has a row (item_id, since, price, available) wherever one of the two changed;
it holds from `since` on, until the item's next row. A source may say when its rows were observed
(`observed_at`). Where it does not, an item that the lake meets for the first time has been as it
is since ALWAYS, later changes begin at the clock of the ingest that saw them, and an item that
has left the catalog is not to be had from then on.

History outlives the files: what earlier ingests saw is carried over from set to set.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import narwhals as nw

from vitrina.lake.duplicates import one_of_each
from vitrina.lake.engine import Engine, Frame
from vitrina.lake.tables import scan_table

ALWAYS: Final = datetime(1000, 1, 1)
"""`since` of what was never otherwise, in UTC: no event is earlier (`values.MOMENTS`)."""

STATE: Final = ("price", "available")
COLUMNS: Final = ("item_id", "since", *STATE)
UTC_MOMENT: Final = nw.Datetime("us", "UTC")


def catalog_history(
    engine: Engine, rows: Frame, items: Frame, before: Frame | None, now: datetime
) -> Frame:
    """The rows of snapshots.parquet, in no order.

    rows: all good item rows, with PLACE and `observed_at` (a moment in UTC without zone, or null).
    items: the newest of them, one an item. before: the snapshots until now, if any. now: the
    ingest's clock, in UTC without zone.
    """
    available = nw.col("available").fill_null(True)
    observed = rows.filter(~nw.col("observed_at").is_null())
    stated = one_of_each(
        observed.with_columns(available, since=nw.col("observed_at")), ["item_id", "since"], "last"
    ).select(*COLUMNS)
    known = stated.select("item_id")
    if before is not None:
        before = before.with_columns(nw.col("since").cast(nw.Datetime("us")))
        known = nw.concat([known, before.select("item_id")])
    unstated = items.filter(nw.col("observed_at").is_null()).with_columns(available)
    unstated = unstated.join(
        known.unique().with_columns(_known=nw.lit(True)), on="item_id", how="left"
    )
    since = nw.when(nw.col("_known")).then(nw.lit(now)).otherwise(nw.lit(ALWAYS))
    seen = nw.concat([stated, unstated.with_columns(since=since).select(*COLUMNS)])
    if before is not None:
        gone = valid_at(before, None).filter("available")
        gone = gone.join(items, on="item_id", how="anti").with_columns(
            since=nw.lit(now), available=nw.lit(False)
        )
        seen = engine.persist(nw.concat([seen, gone.select(*COLUMNS)]))
        seen = nw.concat([seen, before.join(seen, on=["item_id", "since"], how="anti")])
    return _changes(seen).with_columns(nw.col("since").cast(UTC_MOMENT))


def as_of(engine: Engine, lake: Path, moment: datetime) -> Frame:
    """The price and availability of each item that was known at `moment` (with a time zone).

    Columns: item_id, since, price, available. Raises DataError when nothing was ingested yet.
    """
    return valid_at(scan_table(engine, lake, "snapshots"), moment)


def valid_at(snapshots: Frame, moment: datetime | None) -> Frame:
    """The snapshot of each item that is valid at `moment` (None: the newest)."""
    if moment is not None:
        snapshots = snapshots.filter(nw.col("since") <= nw.lit(moment))
    newest = snapshots.group_by("item_id").agg(nw.col("since").max())
    return snapshots.join(newest, on=["item_id", "since"], how="semi")


def with_state(events: Frame, snapshots: Frame) -> Frame:
    """Add to each event the `price` and `available` of its item at its `timestamp`.

    Null where nothing is known of the item at that moment. Both frames have moments in UTC.
    Few items of a catalog ever change; only the events of those are put in the order of time.
    """
    rows = snapshots.group_by("item_id").agg(_rows=nw.len())
    changing = rows.filter(nw.col("_rows") > 1).select("item_id")
    constant = snapshots.join(changing, on="item_id", how="anti")
    steady = events.join(changing, on="item_id", how="anti").join(
        constant.select("item_id", *STATE, _since="since"), on="item_id", how="left"
    )
    valid = nw.col("_since") <= nw.col("timestamp")
    steady = steady.with_columns(*(nw.when(valid).then(nw.col(name)).alias(name) for name in STATE))

    history = snapshots.join(changing, on="item_id", how="semi")
    moving = events.join(changing, on="item_id", how="semi")
    moments = moving.select("item_id", "timestamp").unique()
    line = nw.concat(
        [
            history.select("item_id", "since", timestamp="since", _asked=nw.lit(0)),
            moments.select(
                "item_id",
                nw.lit(None).cast(UTC_MOMENT).alias("since"),
                "timestamp",
                _asked=nw.lit(1),
            ),
        ]
    )
    # A snapshot of the event's very moment counts: it comes first.
    latest = nw.col("since").fill_null(strategy="forward")
    line = line.with_columns(latest.over("item_id", order_by=["timestamp", "_asked"]))
    valid_since = line.filter(nw.col("_asked") == 1).select("item_id", "timestamp", _since="since")
    moving = moving.join(valid_since, on=["item_id", "timestamp"], how="left").join(
        history.select("item_id", *STATE, _since="since"), on=["item_id", "_since"], how="left"
    )
    columns = [*events.collect_schema(), *STATE]
    return nw.concat([steady.select(*columns), moving.select(*columns)])


def _changes(seen: Frame) -> Frame:
    """The rows that differ from the item's row before."""
    earlier = {f"_{name}": nw.col(name).shift(1) for name in ("since", *STATE)}
    rows = seen.with_columns(
        **{name: value.over("item_id", order_by="since") for name, value in earlier.items()}
    )
    price, before = nw.col("price"), nw.col("_price")
    repriced = (price.is_null() != before.is_null()) | (price != before).fill_null(False)
    changed = repriced | (nw.col("available") != nw.col("_available"))
    return rows.filter(nw.col("_since").is_null() | changed).select(*COLUMNS)
