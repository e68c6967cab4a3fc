"""Generated events with the shape of Complete Journey, in any number.

What is taken from the real ones (1,438,407 purchases of 2,467 households in a year): 583 events a
shopper, log-normal; visits of five events in the median and ten in the mean, log-normal; the
popularity of 91,615 items, as read off at seven ranks. Other than there, a visit is what a click
stream has: views, carts and purchases, 40 seconds apart in the mean, one in twelve a look at the
same item again, and one row in two hundred told twice. No session and no id is given: cutting
visits and telling duplicates apart is the lake's work.

Shoppers grow with the events, items do not. Rows are about in the order of time, as in logs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ITEMS: Final = 91_615
EVENTS_PER_SHOPPER: Final = 583
RANKS: Final = (1, 10, 100, 1_000, 10_000, 30_000, ITEMS)
PURCHASES: Final = (16_981, 3_189, 905, 202, 29, 4, 0.3)
"""How often the items of these ranks were bought; in between, straight lines in the logarithms."""
TYPES: Final = ("view", "add_to_cart", "purchase")
TYPE_SHARES: Final = (0.75, 0.15, 0.1)
REPEATED, TWICE = 0.08, 0.005
START_US: Final = 1_483_228_800_000_000  # 2017-01-01
YEAR_US: Final = 364 * 86_400_000_000
CHUNK: Final = 1_000_000

SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("event_type", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
    ]
)


def write_clicks(folder: Path, events: int, *, seed: int = 0) -> tuple[Path, Path]:
    """Write items.parquet and events.parquet (`events` rows) into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    items, rows = folder / "items.parquet", folder / "events.parquet"
    item_ids = _names("", ITEMS)
    titles = [f"Item {number}" for number in range(ITEMS)]
    price = rng.lognormal(1, 1, ITEMS).round(2)
    pq.write_table(pa.table({"item_id": item_ids, "title": titles, "price": price}), items)
    popularity = np.exp(
        np.interp(np.log(np.arange(1, ITEMS + 1)), np.log(RANKS), np.log(PURCHASES))
    )
    items_by_rank, item_steps = rng.permutation(ITEMS), _steps(popularity)
    shoppers = max(2, events // EVENTS_PER_SHOPPER)
    shopper_ids, kinds = _names("u", shoppers), pa.array(TYPES)
    shopper_steps = _steps(rng.lognormal(0, 1, shoppers))
    with pq.ParquetWriter(rows, SCHEMA) as writer:
        chunks = -(-events // CHUNK)
        for chunk in range(chunks):
            n = min(CHUNK, events - chunk * CHUNK)
            visit, first = _visits(rng, n)
            start = START_US + ((chunk + rng.random(visit[-1] + 1)) / chunks * YEAR_US).astype(int)
            passed = np.cumsum(rng.exponential(40e6, n).astype(np.int64))
            moment = start[visit] + passed - passed[first][visit]
            shopper = np.searchsorted(shopper_steps, rng.random(visit[-1] + 1))[visit]
            item = items_by_rank[np.searchsorted(item_steps, rng.random(n))]
            again = np.flatnonzero(rng.random(n) < REPEATED)
            again = again[np.isin(again, first, invert=True)]
            item[again] = item[again - 1]
            kind = rng.choice(len(TYPES), n, p=TYPE_SHARES)
            order = np.argsort(moment, kind="stable")
            twice = 1 + np.flatnonzero(rng.random(n - 1) < TWICE)
            order[twice] = order[twice - 1]
            value = np.where(kind == TYPES.index("purchase"), price[item], np.nan)
            writer.write_table(
                pa.table(
                    {
                        "user_id": shopper_ids.take(pa.array(shopper[order])),
                        "item_id": item_ids.take(pa.array(item[order])),
                        "event_type": kinds.take(pa.array(kind[order])),
                        "timestamp": pa.array(moment[order], pa.timestamp("us", "UTC")),
                        "value": pa.array(value[order], from_pandas=True),
                    },
                    schema=SCHEMA,
                )
            )
    return items, rows


def _names(prefix: str, count: int) -> pa.Array:
    return pa.array([f"{prefix}{number:07d}" for number in range(count)])


def _visits(rng: np.random.Generator, events: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The visit of each event, counted from 0, and where each visit's events begin."""
    # exp of a normal with median 5 and mean 10.2; each has one event at least.
    size = np.maximum(rng.lognormal(np.log(5), 1.19, events // 4 + 10).astype(int), 1)
    size = size[: np.searchsorted(np.cumsum(size), events) + 1]
    visit = np.repeat(np.arange(len(size)), size)[:events]
    return visit, np.flatnonzero(np.diff(visit, prepend=-1))


def _steps(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where to look up uniform draws to draw by weight."""
    steps: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    steps[-1] = 1.0
    return steps
