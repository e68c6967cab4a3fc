"""The data contract: what an item and an event must be, and what becomes of those that are not.

A rule takes out the row, when it cannot be used, or the value alone, when the row can do without
it. Either way the quarantine table says which row, which column and why. Rules are conditions on
mapped rows (`mapping.map_columns`); the first broken rule that takes out the row is its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import narwhals as nw

from vitrina.schema import EVENT_COLUMNS, ITEM_INPUTS

Table = Literal["items", "events"]

COLUMNS: Final[Mapping[Table, Mapping[str, str]]] = {"items": ITEM_INPUTS, "events": EVENT_COLUMNS}
REQUIRED: Final[Mapping[Table, Sequence[Sequence[str]]]] = {
    "items": (("item_id",),),
    "events": (("item_id",), ("event_type",), ("timestamp",), ("user_id", "session_id")),
}
"""Of each of these sets of columns, a file must have one."""

EARLIEST: Final = datetime(1990, 1, 1)
"""No shop has events from before: such a moment is a wrong unit, or a clock that was never set."""

UNKNOWN_ITEM: Final = "not in the catalog; add it to the items"
"""Why an event is set apart whose item the catalog lacks; the quality page counts these apart."""

FUTURE: Final = "in the future; check clock, unit and time zone"
"""Why an event is set apart whose moment has not come: a later ingest takes it."""

IS_OBJECT: Final = "_is_object"
IN_CATALOG: Final = "_in_catalog"
IS_TYPE: Final = "_is_type"
"""Booleans that `clean` adds to mapped rows: attributes are a JSON object; the item, or the type
of event, is known."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rules of one run refer to.

    given: whether the file has anything in a column, usable or not.
    latest: the last moment (UTC, without zone) that is not the future.
    """

    given: Callable[[str], nw.Expr]
    max_text_chars: int = 0
    latest: datetime = datetime.max


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause of the contract.

    reason: what was found, and after a semicolon what to do or what was done.
    broken: when it is; null counts as not broken.
    instead: what a value is replaced by; None takes out the whole row.
    """

    column: str
    reason: str
    broken: Callable[[Terms], nw.Expr]
    instead: Callable[[Terms], nw.Expr] | None = None

    @property
    def takes(self) -> Literal["row", "value"]:
        """What is taken out when the rule is broken."""
        return "row" if self.instead is None else "value"


def _nothing(_: Terms) -> nw.Expr:
    return nw.lit(None)


def _overlong(column: str) -> Rule:
    text = nw.col(column)
    return Rule(
        column,
        "longer than max_text_chars in [lake]; cut",
        lambda terms: text.str.len_chars() > terms.max_text_chars,
        lambda terms: text.str.slice(0, terms.max_text_chars),
    )


def _unreadable(column: str, reason: str) -> Rule:
    return Rule(
        column, reason, lambda terms: terms.given(column) & nw.col(column).is_null(), _nothing
    )


def _missing(column: str, reason: str) -> Rule:
    return Rule(column, reason, lambda _: nw.col(column).is_null())


ITEM_RULES: Final = (
    _missing("item_id", "missing; every item needs its id"),
    _overlong("title"),
    _overlong("description"),
    Rule(
        "price",
        "not a number of 0 or more; item kept without a price",
        lambda terms: terms.given("price") & ~(nw.col("price") >= 0).fill_null(False),
        _nothing,
    ),
    _unreadable("available", "neither true nor false; item kept as available"),
    _unreadable("created_at", "not a timestamp; item kept without it"),
    Rule(
        "observed_at",
        "not a timestamp, or in the future; taken as observed now",
        lambda terms: (
            terms.given("observed_at")
            & ~(nw.col("observed_at") <= nw.lit(terms.latest)).fill_null(False)
        ),
        _nothing,
    ),
    Rule(
        "attributes",
        "not a JSON object; item kept without attributes",
        lambda terms: terms.given("attributes") & ~nw.col(IS_OBJECT).fill_null(False),
        _nothing,
    ),
)

EVENT_RULES: Final = (
    _missing("item_id", "missing; an event names its item"),
    Rule(
        "user_id",
        "missing, and session_id too; an event needs one of them",
        lambda _: nw.col("user_id").is_null() & nw.col("session_id").is_null(),
    ),
    Rule(
        "timestamp",
        "missing; an event needs its moment",
        lambda terms: ~terms.given("timestamp"),
    ),
    _missing("timestamp", "not a timestamp; say its unit under columns of its source in [lake]"),
    Rule(
        "timestamp",
        "before 1990; check its unit under columns of its source in [lake]",
        lambda _: nw.col("timestamp") < nw.lit(EARLIEST),
    ),
    Rule(
        "timestamp",
        FUTURE,
        lambda terms: nw.col("timestamp") > nw.lit(terms.latest),
    ),
    _missing("event_type", "missing; say what happened"),
    Rule(
        "event_type",
        "unknown; name ours under event_types of its source in [lake], or add it to weights in "
        "[events]",
        lambda _: ~nw.col(IS_TYPE),
    ),
    Rule("item_id", UNKNOWN_ITEM, lambda _: ~nw.col(IN_CATALOG)),
    _unreadable("value", "not a number; event kept without a value"),
    _unreadable("position", "not a whole number; event kept without a position"),
)

RULES: Final[Mapping[Table, Sequence[Rule]]] = {"items": ITEM_RULES, "events": EVENT_RULES}


def repairs(table: Table) -> dict[str, str]:
    """The values that rules take out: column -> reason, at most one a column."""
    return {rule.column: rule.reason for rule in RULES[table] if rule.takes == "value"}
