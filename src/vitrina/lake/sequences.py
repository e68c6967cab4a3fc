"""The events as arrays: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.quality.bots import without_bots
from vitrina.lake.shoppers import shopper_key
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import scan_table

US_PER_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Interactions:
    """Events, sorted by user, moment and item row; n events of u shoppers.

    user int32 [n]: position in user_ids. row int32 [n]: item row. event_type int16 [n]: code.
    timestamp_us int64 [n]. session int32 [n]: dense code, by first appearance.
    user_ids [u]: history keys (user_id, or `anonymous_key` of the session), sorted. Events of one
    user, moment and item stand in the order of their type codes.
    """

    user: NDArray[np.int32]
    row: NDArray[np.int32]
    event_type: NDArray[np.int16]
    timestamp_us: NDArray[np.int64]
    session: NDArray[np.int32]
    user_ids: list[str]

    def __len__(self) -> int:
        return len(self.user)


def load_interactions(
    lake: Path,
    *,
    before_us: int | None,
    item_ids: Sequence[str],
    event_types: Sequence[str],
) -> Interactions:
    """The lake's events strictly before `before_us` (None: all).

    Item rows and type codes are positions in `item_ids` and `event_types`; events of other items
    and types are left out, and so are shoppers without any other. So are bots, if they were known
    for what they are before `before_us`. Raises DataError when nothing was ingested yet.
    """
    before = None if before_us is None else to_datetime(before_us)
    with DuckDBEngine() as engine:
        items = engine.from_columns(
            {"item_id": list(item_ids), "row": np.arange(len(item_ids), dtype=np.int32)}
        )
        types = engine.from_columns(
            {
                "event_type": list(event_types),
                "code": np.arange(len(event_types), dtype=np.int16),
            }
        )
        events = scan_table(engine, lake, "events")
        if before is not None:
            events = events.filter(nw.col("timestamp") < nw.lit(before))
        bots = scan_table(engine, lake, "bots")
        events = (
            without_bots(events.with_columns(key=shopper_key()), bots, before=before)
            .join(items, on="item_id", how="inner")
            .join(types, on="event_type", how="inner")
            .select("key", "timestamp", "row", "code", "session_id")
            .sort("key", "timestamp", "row", "code", "session_id")
        )
        table = engine.collect(events)
    users = table["key"].combine_chunks().dictionary_encode()
    sessions = table["session_id"].combine_chunks().dictionary_encode()
    return Interactions(
        user=users.indices.to_numpy().astype(np.int32, copy=False),
        row=table["row"].to_numpy(),
        event_type=table["code"].to_numpy(),
        timestamp_us=table["timestamp"].cast("int64").to_numpy(),
        session=sessions.indices.to_numpy().astype(np.int32, copy=False),
        user_ids=users.dictionary.to_pylist(),
    )


def popularity(
    interactions: Interactions, n_items: int, until_us: int, half_life_days: float
) -> NDArray[np.float32]:
    """Recency-weighted count of each item's events before `until_us`: float32 [n_items].

    An event of age a days weighs 2^(-a / half_life_days).
    """
    seen = interactions.timestamp_us < until_us
    age_days = (until_us - interactions.timestamp_us[seen]) / US_PER_DAY
    weights = np.exp2(-age_days / half_life_days)
    counts = np.bincount(interactions.row[seen], weights, minlength=n_items)
    return counts.astype(np.float32)
