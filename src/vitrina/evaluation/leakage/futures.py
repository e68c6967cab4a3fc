"""Lakes that are as a lake was before a moment, and have another future.

Each is a real lake: its tables are written by the code that an ingest uses, so that whatever reads
a lake can be asked what it makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import narwhals as nw
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.partitions import parquet_files
from vitrina.lake.quality.activity import activity
from vitrina.lake.quality.bots import VOLUME_LIMIT, find_bots
from vitrina.lake.sequences import write_sequences
from vitrina.lake.shards import SHARDS
from vitrina.lake.shoppers import START
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import (
    POINTER,
    current_tables,
    keep_path,
    scan_set,
    scan_stored,
    table_at,
    write_json,
)

Future = Literal["removed", "scrambled", "repriced"]

MADE_OF_EVENTS: Final = ("events", SHARDS, "bots.parquet")
LATER: Final = timedelta(days=30)
"""How much later everything happens in the scrambled future."""
NEW_PRICE: Final = 3.0
"""What prices are multiplied by in the repriced future."""


def write_future(lake: Path, into: Path, moment_us: int, future: Future) -> None:
    """Write to `into` the lake `lake` with another future, under the name of the same set.

    removed: of the events at or after the moment only the last one is left (a lake that ends
    before the cut is refused). scrambled: one in two is gone; the others have other shoppers,
    items and types, some shoppers nobody knew, and happen LATER; a shopper of the past turns out
    to be a bot. repriced: after the moment, and today, every item has another price, and is to be
    had exactly if it was not.
    """
    current = current_tables(lake)
    folder = into / current.name
    folder.mkdir(parents=True)
    changed = ("items.parquet", "snapshots.parquet") if future == "repriced" else MADE_OF_EVENTS
    for path in current.iterdir():
        if path.name not in changed:
            keep_path(path, folder / path.name)
    if future == "repriced":
        _reprice(current, folder, to_datetime(moment_us))
    else:
        change = _all_but_the_last if future == "removed" else _scrambled
        _rewrite_events(current, folder, to_datetime(moment_us), change)
    write_json(into / POINTER, {"tables": current.name})


def _rewrite_events(
    current: Path,
    folder: Path,
    moment: datetime,
    change: Callable[[pa.Table, pa.Table, pa.Array], pa.Table],
) -> None:
    """Events before the moment as they are, later ones as `change` has them, and what is made of
    events: sequences and bots."""
    events = table_at(folder, "events")
    with DuckDBEngine() as engine:
        stored = engine.scan_parquet(parquet_files(table_at(current, "events")))
        past = stored.filter(nw.col("timestamp") < nw.lit(moment))
        later = engine.collect(stored.filter(nw.col("timestamp") >= nw.lit(moment)))
        shoppers = past.select("user_id", "session_id", START).head(1)
        item_ids = engine.collect(scan_set(engine, current, "items").select("item_id"))
        other = change(later, engine.collect(shoppers), item_ids["item_id"].combine_chunks())
        engine.write_parquet(past, events / "past.parquet")
        pq.write_table(other, events / "later.parquet")
        written = scan_stored(engine, folder, "events")
        write_sequences(engine, written, scan_set(engine, folder, "items"), folder / SHARDS)
        bots = find_bots(engine, written, activity(engine, written))
        engine.write_parquet(bots.sort("key", "reason"), table_at(folder, "bots"))


def _all_but_the_last(later: pa.Table, _shopper: pa.Table, _item_ids: pa.Array) -> pa.Table:
    order = np.argsort(later["timestamp"].to_numpy(), kind="stable")
    return later.take(order[-1:])


def _scrambled(later: pa.Table, shopper: pa.Table, item_ids: pa.Array) -> pa.Table:
    """See `write_future`. shopper: user_id, session_id and START of one of the past."""
    rng = np.random.default_rng(0)
    n = max(later.num_rows // 2, 1)
    kept = later.take(np.sort(rng.permutation(later.num_rows)[:n]))
    shuffled = kept.take(rng.permutation(n))
    newcomers = [f"newcomer-{place}" if place % 10 == 0 else None for place in range(n)]
    user_ids = pa.compute.coalesce(
        pa.array(newcomers, pa.string()), shuffled["user_id"].cast(pa.string())
    )
    moments = kept["timestamp"].cast(pa.int64()).to_numpy() + LATER // timedelta(microseconds=1)
    scrambled = _replaced(
        kept,
        event_id=pa.nulls(n, pa.string()),
        user_id=user_ids,
        session_id=shuffled["session_id"],
        **{START: shuffled[START]},
        item_id=item_ids.take(pa.array(rng.integers(len(item_ids), size=n))),
        event_type=kept["event_type"].take(rng.permutation(n)),
        timestamp=pa.array(moments, pa.timestamp("us", "UTC")),
    )
    return pa.concat_tables([scrambled, _as_a_bot(scrambled, shopper)])


def _as_a_bot(later: pa.Table, shopper: pa.Table) -> pa.Table:
    """More actions of the shopper than people make, on one day after the newest of `later`."""
    n = VOLUME_LIMIT + 1
    day = np.timedelta64(1, "D").astype("timedelta64[us]").astype(np.int64)
    newest = int(later["timestamp"].cast(pa.int64()).to_numpy().max())
    moments = (newest // day + 1) * day + np.arange(n) * 20_000_000
    same = later.take(np.zeros(n, np.int64))
    return _replaced(
        same,
        event_id=pa.nulls(n, pa.string()),
        user_id=shopper["user_id"].take(np.zeros(n, np.int64)),
        session_id=shopper["session_id"].take(np.zeros(n, np.int64)),
        **{START: shopper[START].take(np.zeros(n, np.int64))},
        timestamp=pa.array(moments, pa.timestamp("us", "UTC")),
    )


def _replaced(table: pa.Table, **columns: Any) -> pa.Table:
    """The table with other values in some columns, which keep their place and type."""
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        kind = table.schema.field(name).type
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        table = table.set_column(place, pa.field(name, kind), values.cast(kind))
    return table


def _reprice(current: Path, folder: Path, moment: datetime) -> None:
    """Other prices and availability in the catalog's newest state and in its history."""
    price, available = nw.col("price") * NEW_PRICE, ~nw.col("available").fill_null(True)
    with DuckDBEngine() as engine:
        items = scan_set(engine, current, "items")
        changed = items.with_columns(price=price, available=available)
        engine.write_parquet(changed.sort("item_id"), table_at(folder, "items"))
        known = scan_set(engine, current, "snapshots").filter(nw.col("since") < nw.lit(moment))
        later = changed.select(
            "item_id",
            "price",
            "available",
            since=nw.lit(moment).cast(nw.Datetime("us", "UTC")),
        ).select("item_id", "since", "price", "available")
        history = nw.concat([known, later]).sort("item_id", "since")
        engine.write_parquet(history, table_at(folder, "snapshots"))
