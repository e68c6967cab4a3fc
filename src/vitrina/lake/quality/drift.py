"""What has changed between two sets of tables, A before and B after, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.lake.quality.prices import department
from vitrina.lake.quality.shift import Shift, shift_of_numbers, shift_of_texts
from vitrina.lake.shoppers import shopper_key
from vitrina.lake.tables import TableName, scan_set

RATIOS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
CHANGES_SHOWN: Final = 20
COMPARED: Final = ("title", "description", "category_path", "brand", "price", "available")
"""Columns of which it is counted how many items have another value than before."""

Measure = Callable[[Engine, str, str, Frame, Frame], Shift | None]


@dataclass(frozen=True, slots=True)
class Sides:
    """One table of both sets."""

    a: Frame
    b: Frame

    def each(self, change: Callable[[Frame], Frame]) -> Sides:
        return Sides(change(self.a), change(self.b))


def drift(
    engine: Engine, a: Path, b: Path, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Compare two sets of tables (folders), as JSON holds it.

    progress: told what is being compared. Raises DataError when a table cannot be read.
    """
    say = progress or (lambda _: None)
    tables: dict[str, Sides] = {
        name: Sides(scan_set(engine, a, name), scan_set(engine, b, name))
        for name in get_args(TableName)
    }
    say("rows")
    rows = {name: _rows(engine, sides) for name, sides in tables.items()}
    say("items")
    items = tables["items"]
    common = engine.persist(
        items.a.select("item_id", *COMPARED).join(
            items.b.select("item_id", *COMPARED), on="item_id", suffix="_b"
        )
    )
    result: dict[str, Any] = {
        "a": str(a),
        "b": str(b),
        "tables": rows,
        "keys": {
            "items": _keys(engine, items.each(lambda side: side.select(key="item_id"))),
            "shoppers": _keys(
                engine, tables["events"].each(lambda side: side.select(key=shopper_key()).unique())
            ),
        },
        "changed": _changed(engine, common),
        "prices": _prices(engine, common),
        "time": _times(engine, tables["events"]),
        "columns": [],
    }
    for table, column, measure, sides in _columns(tables):
        say(f"{table}: {column}")
        if (shift := measure(engine, table, column, sides.a, sides.b)) is not None:
            result["columns"].append(asdict(shift))
    return result


def _rows(engine: Engine, sides: Sides) -> dict[str, int]:
    return {name: _count(engine, side) for name, side in (("a", sides.a), ("b", sides.b))}


def _keys(engine: Engine, sides: Sides) -> dict[str, int]:
    """How many keys are in A alone (lost), in B alone (new), in both. sides: distinct keys."""
    a, b = engine.persist(sides.a), engine.persist(sides.b)
    kept = _count(engine, a.join(b, on="key", how="semi"))
    return {"lost": _count(engine, a) - kept, "new": _count(engine, b) - kept, "kept": kept}


def _changed(engine: Engine, common: Frame) -> dict[str, int]:
    """Of the items in both: how many, and how many with another value in each column."""
    counted = engine.collect(
        common.select(
            nw.len().alias("items"),
            *(_differs(name).cast(nw.Int64).sum().cast(nw.Int64).alias(name) for name in COMPARED),
        )
    ).to_pylist()[0]
    return {name: count or 0 for name, count in counted.items()}


def _prices(engine: Engine, common: Frame) -> dict[str, Any]:
    """Prices of items in both that were and are above 0: how many changed, and by what ratio."""
    both = common.filter((nw.col("price") > 0) & (nw.col("price_b") > 0)).with_columns(
        ratio=nw.col("price_b") / nw.col("price")
    )
    changed = engine.persist(both.filter(nw.col("ratio") != 1))
    ratio = nw.col("ratio")
    found: dict[str, Any] = engine.collect(
        changed.select(
            changed=nw.len(),
            up=(ratio > 1).cast(nw.Int64).sum().cast(nw.Int64).fill_null(0),
            **{f"p{share * 100:.0f}": ratio.quantile(share, "linear") for share in RATIOS},
        )
    ).to_pylist()[0]
    far = nw.when(ratio > 1).then(ratio).otherwise(1 / ratio)
    shown = (
        changed.with_columns(times=far)
        .sort("times", "item_id", descending=[True, False])
        .head(CHANGES_SHOWN)
        .select("item_id", "title_b", "price", "price_b")
    )
    return {
        "both": _count(engine, both),
        **found,
        "shown": [
            {
                "item_id": row["item_id"],
                "title": row["title_b"],
                "a": row["price"],
                "b": row["price_b"],
            }
            for row in engine.collect(shown).to_pylist()
        ],
    }


def _times(engine: Engine, sides: Sides) -> dict[str, dict[str, str | None]]:
    """First and last event of each side, ISO 8601."""
    moment = nw.col("timestamp")
    found = {}
    for name, side in (("a", sides.a), ("b", sides.b)):
        span: dict[str, datetime | None] = engine.collect(
            side.select(first=moment.min(), last=moment.max())
        ).to_pylist()[0]
        found[name] = {
            key: None if value is None else value.astimezone(UTC).isoformat()
            for key, value in span.items()
        }
    return found


def _columns(tables: dict[str, Sides]) -> Iterator[tuple[str, str, Measure, Sides]]:
    """Whatever has a distribution: columns, and a few figures made of them."""
    items = tables["items"].each(
        lambda side: side.with_columns(
            department=department(),
            title_length=nw.col("title").str.len_chars(),
            description_length=nw.col("description").str.len_chars(),
        )
    )
    for column in ("department", "brand", "currency", "location", "condition", "available"):
        yield "items", column, shift_of_texts, items
    for column in ("price", "title_length", "description_length"):
        yield "items", column, shift_of_numbers, items
    moment = nw.col("timestamp").dt
    events = tables["events"].each(
        lambda side: side.with_columns(
            key=shopper_key(),
            hour=moment.hour().cast(nw.String).str.zfill(2),
            weekday=_weekday(),
            with_user=~nw.col("user_id").is_null(),
        )
    )
    for column in ("event_type", "device_type", "with_user", "hour", "weekday"):
        yield "events", column, shift_of_texts, events
    for column in ("value", "position"):
        yield "events", column, shift_of_numbers, events
    for name, key in (("shopper", "key"), ("item", "item_id"), ("session", "session_id")):
        column = f"events_per_{name}"
        per = events.each(partial(_per, key=key, column=column))
        yield "events", column, shift_of_numbers, per


def _per(events: Frame, key: str, column: str) -> Frame:
    return events.group_by(key).agg(nw.len().alias(column))


def _weekday() -> nw.Expr:
    """Number and name of an event's weekday (UTC), from Sunday."""
    # Sunday is 7 on one engine and 0 on the other.
    number = nw.col("timestamp").dt.weekday() % 7
    name = nw.lit(None, nw.String)
    for place, day in enumerate(("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")):
        name = nw.when(number == place).then(nw.lit(f"{place} {day}")).otherwise(name)
    return name


def _differs(name: str) -> nw.Expr:
    """Whether an item's value is another than before; a value and none are different."""
    a, b = nw.col(name), nw.col(f"{name}_b")
    return (a.is_null() != b.is_null()) | (a != b).fill_null(False)


def _count(engine: Engine, frame: Frame) -> int:
    rows: int = engine.collect(frame.select(nw.len()))[0][0].as_py()
    return rows
