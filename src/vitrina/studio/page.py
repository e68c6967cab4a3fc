"""What the page shows, worked out: shelves of cards, a history by visits, the strip of figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from vitrina.bundle.bundle import Bundle
from vitrina.online.candidates import Shelf
from vitrina.online.recommender import Recommendation
from vitrina.online.stages import STAGES
from vitrina.rank.candidates import SOURCES
from vitrina.schema import History, Item
from vitrina.studio.tiles import Tile, tile

VISIT_GAP_US: Final = 30 * 60 * 1_000_000
"""A pause longer than this starts a new visit in the history."""

VISITS_SHOWN: Final = 8
ENTRIES_SHOWN: Final = 5
"""Entries of a visit that are shown at once; the rest unfolds."""

STAGE_NAMES: Final[Mapping[str, str]] = {
    "history": "history",
    "user_vector": "user vector",
    "candidates": "candidates",
    "rank": "rank",
    "hydrate": "hydrate",
}

RUNG_NOTES: Final[Mapping[str, str]] = {
    "learned": "the learned encoder read this history",
    "mix": "a mix of recent and long-run taste",
    "average": "the average of this history",
    "centroid": "nothing known yet: what newcomers look for",
    "popular": "the popularity list",
}

_DONE: Final[Mapping[str, str]] = {
    "view": "Viewed",
    "click": "Clicked",
    "purchase": "Bought",
    "add_to_cart": "In the cart",
    "add_to_favorites": "Favourite",
    "contact_seller": "Asked the seller",
    "dismiss": "Dismissed",
}
_CURRENCY_SIGNS: Final[Mapping[str, str]] = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


@dataclass(frozen=True, slots=True)
class Product:
    """An item as the page names it."""

    item_id: str
    title: str
    category: str
    brand: str
    price: str
    tile: Tile


@dataclass(frozen=True, slots=True)
class Card:
    """A product on a shelf. is_new: it was not there when the shopper last looked."""

    product: Product
    position: int
    source: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage's part of a request: x and width in percent of the longest request shown."""

    stage: str
    milliseconds: float
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class ShelfView:
    """A shelf with what is told about its making."""

    name: Shelf
    title: str
    note: str
    cards: Sequence[Card]
    answer: Recommendation
    bars: Sequence[Bar]

    @property
    def new(self) -> int:
        return sum(card.is_new for card in self.cards)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a history; product None: the bundle's catalog lacks the item."""

    done: str
    item_id: str
    product: Product | None


@dataclass(frozen=True, slots=True)
class Visit:
    """Events of one visit, newest first."""

    day: str
    time: str
    summary: str
    entries: Sequence[Entry]

    @property
    def shown(self) -> Sequence[Entry]:
        return self.entries[:ENTRIES_SHOWN]

    @property
    def folded(self) -> Sequence[Entry]:
        return self.entries[ENTRIES_SHOWN:]


def product(item: Item) -> Product:
    """The item in the words and the picture of the page."""
    path = item.category_path
    return Product(
        item_id=item.item_id,
        title=_calm(item.title) or item.item_id,
        category=_calm(_context(item)),
        brand=item.brand or "",
        price=_price(item.price, item.currency),
        tile=tile(item.item_id, path, item.title),
    )


def visits(history: History, bundle: Bundle) -> list[Visit]:
    """A history (oldest first) as visits, the newest first."""
    if not len(history):
        return []
    moments = history.timestamps_us
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(moments), 1) if b - a > VISIT_GAP_US)]
    bounds = list(pairwise([*starts, len(history)]))[-VISITS_SHOWN:]
    return [_visit(history, bundle, start, end) for start, end in reversed(bounds)]


def shelf(
    name: Shelf, title: str, note: str, answer: Recommendation, before: Sequence[str] | None
) -> ShelfView:
    """An answer as a shelf. before: the item ids shown last time, None at the first look."""
    catalog = answer.bundle.catalog
    cards = [
        Card(product(catalog.item(row)), position, source, is_new=fresh)
        for position, (row, source, fresh) in enumerate(
            zip(
                answer.candidates.rows.tolist(),
                (SOURCES[source] for source in answer.candidates.sources.tolist()),
                (before is not None and item_id not in before for item_id in answer.item_ids),
                strict=True,
            ),
            start=1,
        )
    ]
    return ShelfView(name, title, note, cards, answer, _bars(answer.timings_ms))


def _visit(history: History, bundle: Bundle, start: int, end: int) -> Visit:
    began = datetime.fromtimestamp(history.timestamps_us[start] / 1e6, UTC)
    done = [
        _DONE.get(kind, kind.replace("_", " ").capitalize())
        for kind in history.event_types[start:end]
    ]
    entries = []
    for verb, item_id in zip(done, history.item_ids[start:end], strict=True):
        row = bundle.row_of_item.get(item_id)
        shown = None if row is None else product(bundle.catalog.item(row))
        entries.append(Entry(verb, item_id, shown))
    counts = Counter(done)
    return Visit(
        day=f"{began:%a} {began.day} {began:%b %Y}",
        time=f"{began:%H:%M}",
        summary=" · ".join(f"{verb.lower()} {count}" for verb, count in counts.most_common()),
        entries=entries[::-1],
    )


def _bars(timings_ms: Mapping[str, float]) -> list[Bar]:
    total = max(sum(timings_ms.get(stage, 0.0) for stage in STAGES), 1e-9)
    bars, x = [], 0.0
    for stage in STAGES:
        milliseconds = timings_ms.get(stage, 0.0)
        width = 100 * milliseconds / total
        bars.append(Bar(STAGE_NAMES[stage], milliseconds, round(x, 2), round(width, 2)))
        x += width
    return bars


def _context(item: Item) -> str:
    """The narrowest category that says something the title does not."""
    title = item.title.casefold()
    telling = [level for level in item.category_path if level.casefold() not in title]
    return telling[-1] if telling else ""


def _price(price: float | None, currency: str | None) -> str:
    if price is None:
        return ""
    sign = _CURRENCY_SIGNS.get(currency or "")
    return f"{sign}{price:,.2f}" if sign else f"{price:,.2f} {currency or ''}".strip()


def _calm(text: str) -> str:
    """Catalogs that shout are read more easily when they do not."""
    return text.capitalize() if text.isupper() else text
