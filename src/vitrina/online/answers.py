"""What the routes answer, as types: the schemas of the OpenAPI. Nothing is built by them."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from vitrina.online.candidates import Shelf
from vitrina.schema import DeviceType, Purpose


class Item(TypedDict):
    """A catalog row. Fields without a value are left out."""

    item_id: str
    title: NotRequired[str]
    description: NotRequired[str]
    category_path: NotRequired[Annotated[list[str], Field(description="Broadest level first.")]]
    price: NotRequired[float]
    currency: NotRequired[str]
    brand: NotRequired[str]
    location: NotRequired[str]
    condition: NotRequired[str]
    image_url: NotRequired[str]
    available: NotRequired[bool]
    attributes: NotRequired[dict[str, Any]]


class ShownItem(Item):
    """An item of a list; the id alone, if the catalog could not be read."""

    score: float | None
    source: Annotated[str, Field(description="Which source of candidates named it.")]
    position: Annotated[int, Field(ge=1, description="Its place; pages count on.")]


class Recommendations(TypedDict):
    """A list for a shopper."""

    request_id: Annotated[str, Field(description="Send it with the events that answer this.")]
    user_id: str | None
    session_id: str | None
    device_type: Annotated[
        DeviceType | None, Field(description="As the request had it; events may send it along.")
    ]
    shelf: Shelf
    served_by: Annotated[str, Field(description="The rung of the ladder, or `popular`.")]
    degraded: Annotated[list[str], Field(description="What failed, and was done without.")]
    user_embedding_version: str
    item_embedding_version: str
    bundle: str
    items: list[ShownItem]
    cursor: Annotated[str | None, Field(description="The next page's; null on the last.")]
    timings_ms: dict[str, float]
    message: NotRequired[Annotated[str, Field(description="Why there are no items.")]]


class ProblemDetails(TypedDict):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong and what to do.")]
    errors: NotRequired[list[dict[str, Any]]]


class Batch(TypedDict):
    """An answer, or a problem, for each request of a batch."""

    answers: list[Recommendations | ProblemDetails]


class SimilarItems(TypedDict):
    """Items near one, nearest first."""

    item_id: str
    degraded: list[str]
    item_embedding_version: str
    bundle: str
    items: list[ShownItem]


class EventsTaken(TypedDict):
    """What became of the events of a request."""

    accepted: int
    duplicates: int
    unknown_items: Annotated[int, Field(description="Events of items that the bundle lacks.")]


class ItemsTaken(TypedDict):
    """What became of changes to the catalog."""

    accepted: int
    waiting: Annotated[list[str], Field(description="Items to be shown with the next bundle.")]


class ItemsDeleted(TypedDict):
    """What became of deletions."""

    accepted: int


class VectorFacts(TypedDict):
    """A user vector's measures, and itself if it was asked for."""

    dim: int
    norm: float
    vector: NotRequired[list[float]]


class Space(TypedDict):
    """What a user vector depends on."""

    item_embedding_version: str


class UserEmbedding(TypedDict):
    """The vector a shopper is served with."""

    user_embedding: VectorFacts
    user_embedding_version: str
    depends_on: Space
    rung: str


class HistoryEvent(TypedDict):
    """One event of a history."""

    item_id: str
    event_type: str
    timestamp: str


class UserHistory(TypedDict):
    """A shopper's newest events, oldest first."""

    user_id: str
    events: list[HistoryEvent]


class Identity(TypedDict):
    """Who a session's visitor is."""

    session_id: str
    user_id: str
    joined: Annotated[bool, Field(description="False if they were known to be one already.")]


class LoggedEvent(TypedDict):
    """An event as it was sent. Fields without a value are left out."""

    event_id: str
    item_id: str
    event_type: str
    timestamp: str
    user_id: NotRequired[str]
    session_id: NotRequired[str]
    device_type: NotRequired[str]
    value: NotRequired[float]
    request_id: NotRequired[str]
    position: NotRequired[int]
    purposes: list[Purpose]


class Bought(TypedDict):
    """How often an item was bought, and when last."""

    item_id: str
    count: int
    last: str


class Export(TypedDict):
    """Everything that is held of a person."""

    user_id: str
    sessions: list[str]
    events: Annotated[list[LoggedEvent], Field(description="Of the log, newest last.")]
    history: list[HistoryEvent]
    purchases: list[Bought]


class Deleted(TypedDict):
    """How many of each were deleted."""

    events: int
    history: int
    purchases: int
    sessions: int


class ErasureReceipt(TypedDict):
    """That a person was forgotten; it does not say who."""

    receipt_id: str
    erased_at: Annotated[str, Field(description="What happened up to then is not taken again.")]
    deleted: Deleted


class Alive(TypedDict):
    """The process answers."""

    status: str


class Readiness(TypedDict):
    """Whether there is anything to recommend from."""

    status: str
    bundle: str | None
    problem: str | None
    breakers: dict[str, str]
