"""A shop whose files hold what engines could read, order or round differently."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.lake_shop import write

START = datetime(2024, 4, 28, 22, 0, tzinfo=UTC)
ITEMS = 200
MANY = 100_000
"""Events of one user."""

ITEM_ROWS = [
    '{"item_id": "dup", "title": "first"}',
    '{"item_id": "dup", "title": "last", "category_path": ["A", "B\\u00a0C", "D"]}',
    '{"item_id": "obj", "attributes": {"a": 1.50, "b": null, "ü": "\\u00e9"}, "price": 1e-3}',
    '{"item_id": "lax", "attributes": "{\\"a\\": 1,}", "price": "1e3"}',
    '{"item_id": "nan", "attributes": "{\\"a\\": NaN}", "price": "NaN"}',
    '{"item_id": "arr", "attributes": [1, 2], "price": -1}',
    '{"item_id": "long", "title": "' + "ß" * 30_000 + '", "available": "Yes"}',
    '{"item_id": "odd", "available": "perhaps", "created_at": "2024-02-30", "price": "0x10"}',
    '{"item_id": " blank ", "category_path": "A >B>  C\\t> D", "available": 0}',
    '{"item_id": "leap", "created_at": "2024-02-29T23:59:59.999999-11:30", "price": ".5"}',
    '{"title": "no id", "price": 7}',
    '{"item_id": "emoji \U0001f600", "title": "\U0001f600 \u0130stanbul"}',
    "not json",
]

EVENT_ROWS = [
    # no usable shopper, item, type or moment
    ",,item-1,view,2024-05-01",
    "ann,,,view,2024-05-01",
    "ann,,item-1,,2024-05-01",
    "ann,,item-1,telepathy,2024-05-01",
    "ann,,no-such,view,2024-05-01",
    "ann,,item-1,view,",
    "ann,,item-1,view,yesterday",
    "ann,,item-1,view,2999-01-01",
    "ann,,item-1,view,0001-01-01",
    "ann,,item-1,view,2024-02-30T10:00:00Z",
    "ann,,item-1,view,12\u2028",
    "ann,,item-1",
    "ann,,item-1,view,2024-05-01,x,y,z,more",
    'ann,,"item-1,view,2024-05-01',
    # the same moment in several spellings and zones: one event
    "zoe,,item-2,view,2024-05-01T12:00:00+02:00",
    "zoe,,item-2,view,2024-05-01T10:00:00Z",
    "zoe,,item-2,view,2024-05-01 10:00",
    "zoe,,item-2,view,1714557600",
    "zoe,,item-2,view,1714557600000",
    "zoe,,item-2,view,1714557600.000",
    # fractions that are cut at the microsecond
    "zoe,,item-3,view,2024-05-01T10:00:00.1234569Z",
    "zoe,,item-3,view,1714557600.123456999",
    # a session across midnight, and one that ends half an hour and a second before the next
    "mia,,item-1,view,2024-04-30T23:50:00Z",
    "mia,,item-2,view,2024-05-01T00:05:00Z",
    "mia,,item-3,view,2024-05-01T00:35:00Z",
    "mia,,item-4,view,2024-05-01T01:05:01Z",
    # repaired values
    "ben,,item-1,purchase,2024-05-01,cheap,",
    "ben,,item-2,purchase,2024-05-01,1e400,3",
    "ben,,item-3,purchase,2024-05-01,-0.0,1.5",
    "ben,,item-4,purchase,2024-05-01,12.50,+7",
    # late: older than everything before it in the file
    "ann,,item-9,view,2023-01-01T00:00:00Z",
]


def write_awkward_shop(folder: Path, *, seed: int = 0, events: int = 4_000) -> tuple[str, str]:
    """Items and events in every format. Returns the addresses of their folders."""
    rng = np.random.default_rng(seed)
    items, shop = folder / "items", folder / "events"
    rows = [
        json.dumps({"item_id": f"item-{n}", "title": f"Item {n}", "price": round(n / 7, 3)})
        for n in range(ITEMS)
    ]
    write(items / "items.jsonl", "\n".join([*ITEM_ROWS, *rows]) + "\n")
    _write_text_events(shop, rng, events)
    _write_typed_events(shop, rng, events)
    _write_one_busy_user(shop)
    return str(items), str(shop)


def _write_text_events(folder: Path, rng: np.random.Generator, events: int) -> None:
    header = "user_id,session_id,item_id,event_type,timestamp,value,position\n"
    lines = []
    for _ in range(events):
        # Few seconds and few items: ties in time, and the same event again and again.
        moment = START + timedelta(seconds=int(rng.integers(0, 3_000)) * 120)
        zone = timezone(timedelta(minutes=int(rng.choice([-570, -300, 0, 60, 330, 765]))))
        user, item = rng.integers(0, 40), rng.integers(0, 12)
        spelled = moment.astimezone(zone).isoformat() if rng.random() < 0.7 else moment.timestamp()
        session = f"s{rng.integers(0, 30)}" if rng.random() < 0.1 else ""
        shopper = "" if session and rng.random() < 0.5 else f"user-{user}"
        lines.append(f"{shopper},{session},item-{item},view,{spelled},,{rng.integers(0, 9)}")
    padded = [line + "," * max(0, 6 - line.count(",")) for line in EVENT_ROWS]
    padded[11] = EVENT_ROWS[11]
    write(folder / "a.csv", header + "\n".join([*lines, *padded]) + "\n")


def _write_typed_events(folder: Path, rng: np.random.Generator, events: int) -> None:
    seconds = rng.integers(0, 3_000, events) * 120_000_000
    moments = seconds + int(START.timestamp()) * 1_000_000
    users = rng.integers(0, 40, events)
    ids = np.where(rng.random(events) < 0.3, rng.integers(0, 500, events), -1)
    plain = {
        "event_id": pa.array([f"e{n}" if n >= 0 else None for n in ids]),
        "user_id": pa.array(np.where(users == 0, None, users).tolist(), pa.float64()),
        "session_id": pa.array(users.astype(str)),
        "item_id": pa.array([f"item-{n}" for n in rng.integers(0, 12, events)]),
        "event_type": pa.array(rng.choice(["view", "purchase", "dismiss", "?"], events)),
        "value": pa.array(rng.choice([1.5, np.nan, np.inf, -0.0, 1e20, 0.1, 3.0], events)),
        "position": pa.array(rng.choice([1.0, 2.5, np.nan, -3.0], events)),
    }
    moment = {
        "us": pa.array(moments, pa.timestamp("us")),
        "zoned": pa.array(moments, pa.timestamp("us", "America/New_York")),
        "ns": pa.array(moments * 1000, pa.timestamp("ns")),
        "ms": pa.array(moments // 1000, pa.timestamp("ms")),
        "seconds": pa.array(np.where(users == 1, np.nan, moments / 1e6)),
        "millis": pa.array(moments // 1000),
        "day": pa.array(moments // 86_400_000_000, pa.int32()).cast(pa.date32()),
    }
    parts = np.array_split(np.arange(events), len(moment))
    for (kind, column), rows in zip(moment.items(), parts, strict=True):
        table = pa.table(plain | {"timestamp": column}).take(pa.array(rows))
        pq.write_table(table, folder / f"b-{kind}.parquet", row_group_size=200)


def _write_one_busy_user(folder: Path) -> None:
    """One user with many events, many of them at one moment."""
    n = np.arange(MANY)
    table = pa.table(
        {
            "user_id": pa.array(["busy"] * MANY),
            "item_id": pa.array([f"item-{k}" for k in n % ITEMS]),
            "event_type": pa.array(["view"] * MANY),
            "timestamp": pa.array(
                int(START.timestamp()) * 1_000_000 + (n // 7) * 9_000_000, pa.timestamp("us", "UTC")
            ),
        }
    )
    pq.write_table(table, folder / "busy.parquet")
