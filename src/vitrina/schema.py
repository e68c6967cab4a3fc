"""The nouns every part shares: catalog columns, event columns, histories.

Time is an `int` of microseconds since 1970-01-01 UTC wherever it is a number (suffix `_us`),
and a Parquet `timestamp[us, UTC]` wherever it is a column. Ids are strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

CATEGORY_SEPARATOR: Final = " > "
"""`category_path` is written `Department > Category > Type`."""

ITEM_COLUMNS: Final[Mapping[str, str]] = {
    "item_id": "string",
    "title": "string",
    "description": "string",
    "category_path": "string",
    "price": "float64",
    "currency": "string",
    "brand": "string",
    "location": "string",
    "condition": "string",
    "image_url": "string",
    "available": "bool",
    "created_at": "timestamp",
    "attributes": "string",  # a JSON object
}
"""The lake's items table. Only `item_id` is required of an input; the rest may be null."""

ITEM_INPUTS: Final[Mapping[str, str]] = {**ITEM_COLUMNS, "observed_at": "timestamp"}
"""What an input of items may have. observed_at: since when its price and availability hold."""

EVENT_COLUMNS: Final[Mapping[str, str]] = {
    "event_id": "string",
    "user_id": "string",
    "session_id": "string",
    "item_id": "string",
    "event_type": "string",
    "timestamp": "timestamp",
    "device_type": "string",
    "value": "float64",
    "request_id": "string",
    "position": "int64",
}
"""The lake's events table. An input needs item_id, event_type, timestamp
and one of user_id and session_id."""

DEFAULT_EVENT_WEIGHTS: Final[Mapping[str, float]] = {
    "view": 1.0,
    "click": 1.0,
    "add_to_favorites": 3.0,
    "add_to_cart": 3.0,
    "contact_seller": 4.0,
    "purchase": 5.0,
    "dismiss": 0.0,
}
"""Weight of each event type in training. Types of weight 0 are logged and taught to no one."""

LOOKS: Final = ("view", "click")
"""Event types of looking at an item. Looking at it again without a look away is one look."""

REPURCHASE_EVENT: Final = "purchase"
"""The event type whose repetition feeds the repurchase source ("Buy again")."""

IMPRESSION: Final = "impression"
"""The event type of having been shown an item. It says what the shop did, not what the shopper did:
it is logged with the recommendation and the position, and is in no history and in no table of
events, so that no user vector depends on what was shown before."""

DeviceType = Literal["desktop", "mobile", "tablet", "tv", "other"]
"""What a shopper holds in their hands, as a recommendation request says it."""

Purpose = Literal["personalisation", "training", "audiences"]
PERSONALISATION: Final = "personalisation"
TRAINING: Final = "training"
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
"""What a person may agree to: that an event shapes their own recommendations, that models learn
from it, that it places them in a group."""

RECENT_DAYS: Final = 60.0
"""τ of `Purchases.recent`: a purchase this old counts 1/e of one made now."""


def anonymous_key(session_id: str) -> str:
    """The history key of a visitor known by session only; never equal to a user_id's key."""
    return f"session:{session_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something a shopper did with an item.

    One of `user_id` and `session_id` is set. `event_id` makes the event idempotent: the same id
    sent twice is one event. purposes: of `PURPOSES`, those that the person has agreed to.
    """

    event_id: str
    item_id: str
    event_type: str
    timestamp_us: int
    user_id: str | None = None
    session_id: str | None = None
    device_type: str | None = None
    value: float | None = None
    request_id: str | None = None
    position: int | None = None
    purposes: tuple[str, ...] = PURPOSES

    @property
    def history_key(self) -> str:
        """Whose history this event belongs to: the user's, else the anonymous session's."""
        if self.user_id is not None:
            return self.user_id
        assert self.session_id is not None, "an event has a user_id or a session_id"
        return anonymous_key(self.session_id)


@dataclass(frozen=True, slots=True)
class History:
    """A shopper's recent events, oldest first; the three sequences have one length."""

    item_ids: Sequence[str] = ()
    event_types: Sequence[str] = ()
    timestamps_us: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class Purchases:
    """What one shopper has bought so far, one entry an item: the repurchase source's input.

    recent: purchases of the item counted with exponential forgetting, Σ exp(−(last − t) / τ)
    over its purchase times t, where last is the newest of them and τ is `RECENT_DAYS`. It can
    be kept up to date event by event, so no store has to keep every purchase at hand.
    """

    item_ids: Sequence[str] = ()
    counts: Sequence[int] = ()
    last_us: Sequence[int] = ()
    recent: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One catalog row. `category_path` is the list of levels, broadest first."""

    item_id: str
    title: str = ""
    description: str = ""
    category_path: Sequence[str] = ()
    price: float | None = None
    currency: str | None = None
    brand: str | None = None
    location: str | None = None
    condition: str | None = None
    image_url: str | None = None
    available: bool = True
    attributes: Mapping[str, object] = field(default_factory=dict)
