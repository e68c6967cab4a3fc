"""What clients may send: events and recommendation requests, checked and turned into our nouns."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vitrina.filters import NO_FILTERS, Filters
from vitrina.online.candidates import Shelf, Surface
from vitrina.online.cursor import MAX_CHARS, decode_cursor
from vitrina.online.problems import MAX_ERRORS, Problem, field_errors
from vitrina.online.recommender import Request
from vitrina.schema import (
    IMPRESSION,
    PURPOSES,
    DeviceType,
    Event,
    History,
    Purpose,
    anonymous_key,
)

MAX_FUTURE = timedelta(minutes=5)
"""How far a client's clock may run ahead of ours."""

MAX_BATCH: Final = 100
"""Requests in one batch."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SESSION = anonymous_key("")
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)


def _no_session(user_id: str) -> str:
    if user_id.startswith(_SESSION):
        raise ValueError(f"must not start with '{_SESSION}'; send a session_id instead")
    return user_id


def _plausible(moment: datetime) -> datetime:
    """The moment in UTC (one without a zone is taken to be), if a shopper can have lived it."""
    try:
        utc = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        utc = _EPOCH
    if not _OLDEST <= utc <= datetime.now(UTC) + MAX_FUTURE:
        raise ValueError(
            f"{moment.isoformat()} is not between {_OLDEST.year} and 5 minutes from now"
        )
    return utc


_FILTERS: Final = frozenset(
    {"category", "brand", "condition", "location", "min_price", "max_price", "available"}
)

LISTS: Final = ("seed", "exclude", "category", "brand", "condition", "location")
"""Fields of a recommendation request that hold several values; a single one may stand alone."""


def _readable(cursor: str) -> str:
    decode_cursor(cursor)
    return cursor


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    return text


Price = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
_MAX_ID = 512
_WITHOUT_NUL: dict[str, Any] = {"pattern": r"^[^\x00]*$"}
Id = Annotated[
    str,
    Field(min_length=1, max_length=_MAX_ID, json_schema_extra=_WITHOUT_NUL),
    AfterValidator(_storable),
]
UserId = Annotated[Id, AfterValidator(_no_session)]
HistoryKey = Annotated[
    str,
    Field(min_length=1, max_length=len(_SESSION) + _MAX_ID, json_schema_extra=_WITHOUT_NUL),
    AfterValidator(_storable),
]
"""A user id, or `session:` and a session id, as paths have it."""
Moment = Annotated[
    datetime,
    AfterValidator(_plausible),
    Field(description="ISO 8601 (without a zone: UTC), or seconds or milliseconds since 1970."),
]


class StrictIn(BaseModel):
    """Ids may come as numbers; fields nobody knows are refused, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class EventIn(StrictIn):
    """One thing a shopper did with an item. Needs a user_id or a session_id."""

    event_id: Id | None = Field(
        None, description="Makes the event idempotent: sent twice, it counts once."
    )
    user_id: UserId | None = None
    session_id: Id | None = None
    item_id: Id
    event_type: str
    timestamp: Moment | None = Field(None, description="Default: now.")
    device_type: Annotated[str, Field(max_length=100), AfterValidator(_storable)] | None = None
    value: float | None = Field(None, allow_inf_nan=False)
    request_id: Id | None = Field(None, description="The recommendation this event answers.")
    position: int | None = Field(None, ge=0, lt=2**31, description="The item's position in it.")
    purposes: list[Purpose] | None = Field(
        None,
        description="What the person has agreed to that this event be used for; the shop's default "
        "if left out. Without personalisation it is in no history, without training in no model.",
    )

    @model_validator(mode="after")
    def _has_a_shopper(self) -> EventIn:
        if self.user_id is None and self.session_id is None:
            raise ValueError("needs a user_id or a session_id")
        if self.event_type == IMPRESSION and (self.request_id is None or self.position is None):
            raise ValueError("an impression needs the request_id and the position of its answer")
        return self


class HistoryEventIn(StrictIn):
    """One event of a history sent along with a request."""

    item_id: Id
    event_type: str = "view"
    timestamp: Moment | None = Field(None, description="Default: now.")


class RecommendationIn(StrictIn):
    """For whom, how many, from what. Without a shopper the answer suits a first visit."""

    user_id: UserId | None = None
    session_id: Id | None = Field(None, description="An anonymous visitor's session.")
    history: list[HistoryEventIn] | None = Field(
        None, max_length=1000, description="Used instead of the stored history; oldest first."
    )
    k: int = Field(20, ge=1, le=100, description="Items wanted.")
    shelf: Shelf = Field(
        "for_you",
        description="discover: nothing seen before; buy_again: purchases; for_you: both.",
    )
    surface: Surface = Field(
        "home",
        description="Where it is shown. On a product_page, for_you brings no past purchases.",
    )
    device_type: DeviceType | None = Field(
        None,
        description="What it is shown on. It changes no answer yet: it is counted, and comes back "
        "in the answer for the events that follow it.",
    )
    seed: list[Id] = Field(
        default_factory=list,
        max_length=100,
        description="Items that it is shown beside: the product looked at; what lies in the cart, "
        "newest last. What is near them is shown too; they themselves are not.",
    )
    exclude: list[Id] = Field(
        default_factory=list, max_length=1000, description="Items never to be shown."
    )
    cursor: Annotated[str, AfterValidator(_readable)] | None = Field(
        None,
        max_length=MAX_CHARS,
        description="Of the answer before: go on behind it, and repeat nothing.",
    )
    category: list[str] = Field(
        default_factory=list, description="Category paths ('A > B'); subtrees are included."
    )
    brand: list[str] = Field(default_factory=list, description="Brands.")
    condition: list[str] = Field(
        default_factory=list, description="Conditions, such as new or used, as the catalog has it."
    )
    location: list[str] = Field(
        default_factory=list,
        description="Where the items are, as the catalog has it; others are not shown.",
    )
    min_price: Price | None = None
    max_price: Price | None = None
    available: bool = Field(True, description="Only items that are available.")
    exclude_seen: bool | None = Field(
        None, description="Leave out the shopper's history. Default: on the shelf discover only."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in LISTS:
                if isinstance(values.get(name), str):
                    values = values | {name: [values[name]]}
        return values

    @model_validator(mode="after")
    def _makes_sense(self) -> RecommendationIn:
        if None not in (self.min_price, self.max_price) and self.min_price > self.max_price:  # type: ignore[operator]
            raise ValueError(f"min_price {self.min_price} is above max_price {self.max_price}")
        if self.shelf == "buy_again" and self.exclude_seen:
            raise ValueError("the shelf buy_again shows only what was seen; drop exclude_seen")
        return self


def parse_events(
    content: Any, event_types: Collection[str], purposes: Sequence[Purpose] = PURPOSES
) -> list[Event]:
    """One event object, a list of them, or {"events": [...]}, as Events ready to be stored.

    purposes: of events that do not name any.
    Refuses (422) the whole request when any of them cannot be used, naming index and field.
    """
    if isinstance(content, dict) and "events" in content:
        content = content["events"]
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise Problem(422, "Send one event object, a list of them, or {'events': [...]}.")
    now = datetime.now(UTC)
    events: list[Event] = []
    errors: list[dict[str, Any]] = []
    for index, values in enumerate(content):
        if len(errors) >= MAX_ERRORS:
            break
        try:
            event = EventIn.model_validate(values)
        except ValidationError as error:
            errors += field_errors(error, index)
            continue
        # A microsecond apart, so that events without a time keep the order they were sent in.
        default = now + timedelta(microseconds=index)
        if event.event_type not in event_types and event.event_type != IMPRESSION:
            message = f"unknown event type {event.event_type[:100]!r}; this shop knows "
            message += ", ".join([*event_types, IMPRESSION])
            errors.append({"index": index, "field": "event_type", "message": message})
        events.append(_event(event, event.timestamp or default, purposes))
    if errors:
        raise Problem(
            422, f"No event was stored: {len(errors)} problems in {len(content)} events.", errors
        )
    return events


def parse_recommendation(values: dict[str, Any]) -> Request:
    """A recommendation request from a JSON object or a query string's fields (422 if unusable)."""
    try:
        wanted = RecommendationIn.model_validate(values)
    except ValidationError as error:
        raise Problem(
            422, "The recommendation request cannot be used.", field_errors(error)
        ) from error
    return Request(
        key=history_key(wanted.user_id, wanted.session_id),
        user_id=wanted.user_id,
        session_id=wanted.session_id,
        history=None if wanted.history is None else _history(wanted.history),
        k=wanted.k,
        shelf=wanted.shelf,
        filters=_filters(wanted),
        exclude_seen=wanted.exclude_seen,
        surface=wanted.surface,
        device_type=wanted.device_type,
        seeds=wanted.seed,
        exclude=wanted.exclude,
        shown=None if wanted.cursor is None else decode_cursor(wanted.cursor),
    )


def parse_batch(content: Any) -> list[Request | Problem]:
    """A list of requests, or {"requests": [...]}: each one parsed, or why it cannot be used.

    Refuses (422) what is no list, an empty one, and one of more than MAX_BATCH.
    """
    if isinstance(content, dict) and set(content) == {"requests"}:
        content = content["requests"]
    if not isinstance(content, list) or not 1 <= len(content) <= MAX_BATCH:
        raise Problem(422, f"Send {{'requests': [...]}} with 1 to {MAX_BATCH} requests.")
    return [_parsed_or_refused(values) for values in content]


def _parsed_or_refused(values: Any) -> Request | Problem:
    try:
        return parse_recommendation(values)
    except Problem as problem:
        return problem


def history_key(user_id: str | None, session_id: str | None) -> str | None:
    """Whose stored history a request is about; None for someone nobody knows yet."""
    if user_id is not None:
        return user_id
    return None if session_id is None else anonymous_key(session_id)


def microseconds(moment: datetime) -> int:
    """Exact microseconds since 1970 of a moment with a zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso_moment(moment_us: int) -> str:
    """A moment (µs) as answers have it: ISO 8601, in UTC."""
    moment = datetime.fromtimestamp(moment_us // 1_000_000, UTC)
    return moment.replace(microsecond=moment_us % 1_000_000).isoformat().replace("+00:00", "Z")


def _filters(wanted: RecommendationIn) -> Filters:
    if _FILTERS.isdisjoint(wanted.model_fields_set):
        return NO_FILTERS
    return Filters(
        categories=tuple(wanted.category),
        brands=tuple(wanted.brand),
        conditions=tuple(wanted.condition),
        locations=tuple(wanted.location),
        min_price=wanted.min_price,
        max_price=wanted.max_price,
        available_only=wanted.available,
    )


def _event(event: EventIn, moment: datetime, purposes: Sequence[Purpose]) -> Event:
    agreed = purposes if event.purposes is None else event.purposes
    return Event(
        event_id=event.event_id or str(uuid.uuid4()),
        item_id=event.item_id,
        event_type=event.event_type,
        timestamp_us=microseconds(moment),
        user_id=event.user_id,
        session_id=event.session_id,
        device_type=event.device_type,
        value=event.value,
        request_id=event.request_id,
        position=event.position,
        purposes=tuple(purpose for purpose in PURPOSES if purpose in agreed),
    )


def _history(events: Sequence[HistoryEventIn]) -> History:
    """Oldest first; events of one moment stay in the order sent."""
    now_us = time.time_ns() // 1000
    rows = [
        (
            now_us if event.timestamp is None else microseconds(event.timestamp),
            event.item_id,
            event.event_type,
        )
        for event in events
    ]
    rows.sort(key=lambda row: row[0])
    moments, items, types = zip(*rows, strict=True) if rows else ((), (), ())
    return History(items, types, moments)
