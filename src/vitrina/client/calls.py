"""What can be asked for: the calls of the service as values, which both clients send."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar
from urllib.parse import quote

from vitrina.client.answers import Acknowledged, Erased, Item, Recommendations, Shown
from vitrina.client.retries import ServiceError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a shopper did with an item. Needs a user_id or a session_id.

    timestamp: seconds since 1970. event_id and timestamp are set here, so that an event that has
    to be sent twice counts once, and when it happened. request_id, position: of the
    recommendation that it answers. purposes: what the person has agreed to that it be used for;
    None: what the shop's settings say.
    """

    item_id: str
    event_type: str
    user_id: str | None = None
    session_id: str | None = None
    timestamp: float = field(default_factory=time.time)
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    device_type: str | None = None
    value: float | None = None
    request_id: str | None = None
    position: int | None = None
    purposes: Sequence[Literal["personalisation", "training", "audiences"]] | None = None

    @classmethod
    def answering(cls, answer: Recommendations, shown: Shown, event_type: str) -> Self:
        """What a shopper did with an item of an answer, or, as `impression`, that they saw it.

        It says all that ties it to the answer: whose, on which device, which request and place.
        """
        return cls(
            shown.item.item_id,
            event_type,
            user_id=answer.raw["user_id"],
            session_id=answer.raw["session_id"],
            device_type=answer.raw.get("device_type"),
            request_id=answer.request_id,
            position=shown.position,
        )


class HistoryEvent(TypedDict, total=False):
    """An event of a history that is sent along; item_id is required."""

    item_id: str
    event_type: str
    timestamp: float | str


class Wanted(TypedDict, total=False):
    """A recommendation request; every field may be left out (docs/reference/http.md)."""

    user_id: str
    session_id: str
    history: Sequence[HistoryEvent]
    k: int
    shelf: Literal["for_you", "discover", "buy_again"]
    surface: str
    device_type: Literal["desktop", "mobile", "tablet", "tv", "other"]
    seed: Sequence[str]
    exclude: Sequence[str]
    cursor: str
    category: Sequence[str]
    brand: Sequence[str]
    condition: Sequence[str]
    location: Sequence[str]
    min_price: float
    max_price: float
    available: bool
    exclude_seen: bool


class ItemChange(TypedDict, total=False):
    """A change of the catalog; item_id is required, and fields left out stay as they are."""

    item_id: str
    title: str
    description: str
    category_path: Sequence[str]
    price: float
    currency: str
    brand: str
    location: str
    condition: str
    image_url: str
    available: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and what becomes of its answer."""

    method: str
    path: str
    parse: Callable[[Any], T]
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)


def record(events: Sequence[Event]) -> Call[Acknowledged]:
    rows = [{name: v for name, v in asdict(event).items() if v is not None} for event in events]
    return Call("POST", "/v1/events", Acknowledged.of, {"events": rows})


def recommend(wanted: Wanted) -> Call[Recommendations]:
    return Call("POST", "/v1/recommendations", Recommendations.of, wanted)


def recommend_batch(requests: Sequence[Wanted]) -> Call[list[Recommendations | ServiceError]]:
    body = {"requests": list(requests)}
    return Call("POST", "/v1/recommendations:batch", _answers, body)


def similar(item_id: str, k: int) -> Call[list[Shown]]:
    path = f"/v1/items/{quote(item_id, safe='')}/similar"
    return Call("GET", path, lambda raw: [Shown.of(item) for item in raw["items"]], params={"k": k})


def item(item_id: str) -> Call[Item]:
    return Call("GET", f"/v1/items/{quote(item_id, safe='')}", Item.of)


def put_items(items: Sequence[ItemChange]) -> Call[list[str]]:
    return Call("PUT", "/v1/items", lambda raw: list(raw["waiting"]), {"items": list(items)})


def delete_items(item_ids: Sequence[str]) -> Call[None]:
    return Call("POST", "/v1/items:delete", lambda _: None, {"item_ids": list(item_ids)})


def identify(session_id: str, user_id: str) -> Call[None]:
    body = {"session_id": session_id, "user_id": user_id}
    return Call("POST", "/v1/identities", lambda _: None, body)


def export(user_id: str) -> Call[Mapping[str, Any]]:
    return Call("GET", f"/v1/users/{quote(user_id, safe='')}/export", lambda raw: raw)


def erase(user_id: str) -> Call[Erased]:
    return Call("DELETE", f"/v1/users/{quote(user_id, safe='')}", Erased.of)


def _answers(raw: Any) -> list[Recommendations | ServiceError]:
    return [
        Recommendations.of(answer)
        if "items" in answer
        else ServiceError(answer["detail"], answer["status"], answer.get("errors", ()))
        for answer in raw["answers"]
    ]
