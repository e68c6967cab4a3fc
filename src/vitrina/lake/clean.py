"""Items and events, validated: each row becomes kept, quarantined or a duplicate.

A row is quarantined only when it cannot be used: an item without item_id; an event without item,
shopper (user or session), known type or usable moment, or naming an item that the catalog lacks.
A bad value that an item or event can do without (a NaN or negative price, a value that is no
number, attributes that are no JSON object) is taken out and the row is kept; overlong texts are
cut. Such repairs are listed in the quarantine table too, with `row_kept` true.

Of several items with one item_id the last is kept (by file path, then row). Of several events
with one event_id, or with the same shopper, item, type and moment, the first is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import narwhals as nw

from vitrina.lake import values
from vitrina.lake.engine import LIST_SEPARATOR, ROW, Engine, Frame
from vitrina.lake.readers.raw import FILE, RAW_CHARS
from vitrina.schema import EVENT_COLUMNS, ITEM_COLUMNS

COLUMN: Final = "_column"
REASON: Final = "_reason"
RAW: Final = "_raw"
"""Of a row that cannot be used: the column at fault, why, and the row as `name=value` pairs."""
REPAIRED: Final = "_repaired_"
"""Prefix of a boolean for each column that can be repaired."""
INCOMING: Final = "_in_"
"""Prefix of a column as the file has it."""

ITEM_REPAIRS: Final[Mapping[str, str]] = {
    "title": "longer than max_text_chars in [lake]; cut",
    "description": "longer than max_text_chars in [lake]; cut",
    "price": "not a number of 0 or more; item kept without a price",
    "available": "neither true nor false; item kept as available",
    "created_at": "not a timestamp; item kept without it",
    "attributes": "not a JSON object; item kept without attributes",
}
EVENT_REPAIRS: Final[Mapping[str, str]] = {
    "value": "not a number; event kept without a value",
    "position": "not a whole number; event kept without a position",
}

UNKNOWN_ITEM: Final = "not in the catalog; add it to the items"
"""Why an event is set apart whose item the catalog lacks; the report counts these apart."""

Fault = tuple[nw.Expr, str, str]
"""A condition under which a row cannot be used, the column at fault, and the reason."""


def check_items(engine: Engine, raw: Frame, *, max_text_chars: int) -> Frame:
    """Typed items, one for each raw row.

    Returns `_file`, `_row`, the columns of ITEM_COLUMNS, REASON and COLUMN (null for a good row),
    RAW (null for a row without fault or repair), and a REPAIRED boolean for each of ITEM_REPAIRS.
    """
    incoming = _Incoming.of(raw, list(ITEM_COLUMNS))
    frame = engine.mark_json_objects(incoming.frame, f"{INCOMING}attributes", "_is_object")
    frame = frame.with_columns(**{name: incoming.read(name, values.text) for name in ITEM_COLUMNS})
    frame = incoming.add_moment(frame, "created_at")
    price = incoming.read("price", values.number)
    frame = frame.with_columns(
        category_path=nw.col("category_path").str.replace_all(rf"\s*[>{LIST_SEPARATOR}]\s*", " > "),
        price=nw.when(price >= 0).then(price),
        available=incoming.read("available", values.boolean),
        attributes=nw.when(nw.col("_is_object")).then(nw.col("attributes")),
        _overlong_title=nw.col("title").str.len_chars() > max_text_chars,
        _overlong_description=nw.col("description").str.len_chars() > max_text_chars,
    )
    frame = frame.with_columns(
        nw.col("title", "description").str.slice(0, max_text_chars),
        nw.col("created_at").cast(nw.Datetime("us", "UTC")),
    )
    repairs = {
        "title": nw.col("_overlong_title"),
        "description": nw.col("_overlong_description"),
        **{
            name: incoming.read(name, values.is_given) & nw.col(name).is_null()
            for name in ("price", "available", "created_at", "attributes")
        },
    }
    no_id = (nw.col("item_id").is_null(), "item_id", "missing; every item needs its id")
    return _judged(frame, ITEM_COLUMNS, [no_id], repairs)


def check_events(
    raw: Frame, *, items: Frame, event_types: Collection[str], latest: datetime
) -> Frame:
    """Typed events, one for each raw row: what `check_items` returns, for EVENT_COLUMNS.

    items: the catalog, of which item_id is used. event_types: the known ones.
    latest: the last moment (UTC, without zone) that is not the future.
    """
    incoming = _Incoming.of(raw, list(EVENT_COLUMNS))
    frame = incoming.frame.with_columns(
        **{name: incoming.read(name, values.text) for name in EVENT_COLUMNS}
    )
    frame = incoming.add_moment(frame, "timestamp").with_columns(
        value=incoming.read("value", values.number),
        position=incoming.read("position", values.integer),
    )
    catalog = items.select("item_id", _known=nw.lit(True))
    frame = frame.join(catalog, on="item_id", how="left")
    moment = nw.col("timestamp")
    faults: list[Fault] = [
        (nw.col("item_id").is_null(), "item_id", "missing; an event names its item"),
        (
            nw.col("user_id").is_null() & nw.col("session_id").is_null(),
            "user_id",
            "missing, and session_id too; an event needs one of them",
        ),
        (
            ~incoming.read("timestamp", values.is_given),
            "timestamp",
            "missing; an event needs its moment",
        ),
        (moment.is_null(), "timestamp", "not a timestamp; write ISO 8601 or seconds since 1970"),
        (moment > nw.lit(latest), "timestamp", "in the future; check clock and time zone"),
        (nw.col("event_type").is_null(), "event_type", "missing; say what happened"),
        (
            ~nw.col("event_type").is_in(sorted(event_types)),
            "event_type",
            "unknown; add it to weights in [events] of vitrina.toml",
        ),
        (nw.col("_known").is_null(), "item_id", UNKNOWN_ITEM),
    ]
    repairs = {
        name: incoming.read(name, values.is_given) & nw.col(name).is_null()
        for name in EVENT_REPAIRS
    }
    return _judged(frame, EVENT_COLUMNS, faults, repairs)


def unique_items(kept: Frame) -> Frame:
    """The last of the items that share an item_id."""
    return _one_of_each(kept, ["item_id"], "last")


def unique_events(kept: Frame) -> Frame:
    """Events without repetitions, each with an event_id.

    A missing event_id is made of shopper, item, type and moment, so that the same event read
    again gets the same id.
    """
    session = nw.concat_str([nw.lit("session:"), nw.col("session_id")])
    moment = nw.col("timestamp").dt.to_string("%Y-%m-%dT%H:%M:%S.%f")
    frame = kept.with_columns(_shopper=nw.coalesce("user_id", session))
    identity = nw.concat_str(["_shopper", "item_id", "event_type", moment], separator="|")
    frame = frame.with_columns(event_id=nw.coalesce("event_id", identity))
    frame = _one_of_each(frame, ["event_id"], "first")
    frame = _one_of_each(frame, ["_shopper", "item_id", "event_type", "timestamp"], "first")
    return frame.drop("_shopper")


def _one_of_each(frame: Frame, keys: list[str], which: Literal["first", "last"]) -> Frame:
    """One row for each value of `keys`: the first or last by file, then row."""
    # A grouped minimum and a semi-join: several times faster than a window over whole rows.
    frame = frame.with_columns(_place=nw.col(FILE) * 2**40 + nw.col(ROW))
    place = nw.col("_place").min() if which == "first" else nw.col("_place").max()
    chosen = frame.group_by(keys).agg(place).select("_place")
    return frame.join(chosen, on="_place", how="semi").drop("_place")


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A raw frame under INCOMING names; columns that the files lack are null texts."""

    frame: Frame
    types: Mapping[str, nw.dtypes.DType]

    @classmethod
    def of(cls, raw: Frame, columns: Sequence[str]) -> _Incoming:
        found = raw.collect_schema()
        frame = raw.select(
            FILE,
            ROW,
            *(
                (nw.col(name) if name in found else nw.lit(None, nw.String)).alias(INCOMING + name)
                for name in columns
            ),
        )
        return cls(frame, {name: found.get(name, nw.String()) for name in columns})

    def read(self, name: str, convert: Callable[[str, nw.dtypes.DType], nw.Expr]) -> nw.Expr:
        return convert(INCOMING + name, self.types[name])

    def add_moment(self, frame: Frame, name: str) -> Frame:
        return values.add_moment(frame, INCOMING + name, self.types[name], name)


def _judged(
    frame: Frame,
    columns: Mapping[str, str],
    faults: Sequence[Fault],
    repairs: Mapping[str, nw.Expr],
) -> Frame:
    """Name the first fault of each row and its repairs, and spell out the rows that have any."""
    column, reason = nw.lit(None, nw.String), nw.lit(None, nw.String)
    for fault, name, why in reversed(faults):
        column = nw.when(fault).then(nw.lit(name)).otherwise(column)
        reason = nw.when(fault).then(nw.lit(why)).otherwise(reason)
    flags = [repair.fill_null(False).alias(REPAIRED + name) for name, repair in repairs.items()]
    frame = frame.with_columns(column.alias(COLUMN), reason.alias(REASON), *flags)
    pairs = [
        nw.concat_str(
            [nw.lit(f"{name}="), nw.col(INCOMING + name).cast(nw.String).str.slice(0, RAW_CHARS)]
        )
        for name in columns
    ]
    spelled = nw.concat_str(pairs, separator=" | ", ignore_nulls=True).str.slice(0, RAW_CHARS)
    noted = nw.any_horizontal(
        ~nw.col(REASON).is_null(), *(REPAIRED + name for name in repairs), ignore_nulls=True
    )
    return frame.select(
        FILE,
        ROW,
        COLUMN,
        REASON,
        nw.when(noted).then(spelled).alias(RAW),
        *(REPAIRED + name for name in repairs),
        *columns,
    )
