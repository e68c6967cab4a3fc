"""The studio: one page that shows what the engine does with a shopper's clicks.

Server-rendered, no script, nothing from another host. A click is a form post that records a real
event; the page it leads back to marks what that event changed.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Final
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool

from vitrina.online.candidates import Shelf
from vitrina.online.problems import Problem, read_body
from vitrina.online.recommender import Recommendation
from vitrina.online.recommender import Request as Wanted
from vitrina.online.requests import microseconds
from vitrina.online.service import Service
from vitrina.schema import Event, anonymous_key
from vitrina.studio.page import RUNG_NOTES, ShelfView, product, shelf, visits

VISITOR_COOKIE: Final = "vitrina_visitor"
SHOPPERS_OFFERED: Final = 8
HISTORY_SHOWN: Final = 100
VIEW_EVENT: Final = "view"
LOOKS_REMEMBERED: Final = 1000
REPLAY_AFTER: Final = timedelta(days=30)

SHELVES: Final[tuple[tuple[Shelf, str, int], ...]] = (
    ("buy_again", "Buy again", 6),
    ("discover", "Discover", 12),
)

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def mount_studio(app: FastAPI) -> None:
    """Add the page (`/`), its click (`POST /click`) and its files to an app of `create_app`."""
    studio = Studio(app.state.service)
    files = resources.files("vitrina.studio") / "static"
    static = {
        "studio.css": ("text/css", (files / "studio.css").read_bytes()),
        "icon.svg": ("image/svg+xml", (files / "icon.svg").read_bytes()),
    }

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        visitor = request.cookies.get(VISITOR_COOKIE) or uuid.uuid4().hex
        query = request.query_params
        shopper = _shopper(query.get("shopper", ""))
        response = await run_in_threadpool(studio.page, visitor, shopper, query.get("viewed"))
        if VISITOR_COOKIE not in request.cookies:
            response.set_cookie(VISITOR_COOKIE, visitor, httponly=True, samesite="lax")
        return response

    @app.post("/click", include_in_schema=False)
    async def click(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Problem(403, "Clicks are taken from the studio's own page only.")
        visitor = request.cookies.get(VISITOR_COOKIE) or uuid.uuid4().hex
        fields = parse_qs((await read_body(request)).decode("utf-8", "replace"))
        form = {name: values[0][:512] for name, values in fields.items()}
        response = await run_in_threadpool(studio.click, visitor, form)
        response.set_cookie(VISITOR_COOKIE, visitor, httponly=True, samesite="lax")
        return response

    @app.get("/studio/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in static:
            raise Problem(404, f"The studio has no file '{name}'.")
        media_type, content = static[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=3600"})


class Studio:
    """The page's two actions, and what each visitor saw last."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._looks = _Looks()
        templates = Environment(
            loader=PackageLoader("vitrina.studio"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = templates.get_template("page.html")
        self._waiting = templates.get_template("waiting.html")

    def page(self, visitor: str, shopper: str, viewed: str | None) -> Response:
        """The page for a shopper (empty: the anonymous visitor); viewed: the item just clicked."""
        try:
            bundle = self._service.recommender.bundle
        except Problem as problem:
            return HTMLResponse(self._waiting.render(problem=problem.detail), 503, HEADERS)
        key = shopper or anonymous_key(visitor)
        state = self._service.state
        history = state.recent(key, HISTORY_SHOWN)
        shelves = [self._shelf(name, title, k, visitor, shopper, key) for name, title, k in SHELVES]
        row = bundle.row_of_item.get(viewed or "")
        offered = state.shoppers(SHOPPERS_OFFERED)
        if shopper and shopper not in offered:
            offered = [shopper, *offered[:-1]]
        html = self._template.render(
            bundle=bundle,
            shopper=shopper,
            offered=offered,
            events=len(history),
            events_shown=HISTORY_SHOWN,
            visits=visits(history, bundle),
            shelves=shelves,
            viewed=None if row is None else product(bundle.catalog.item(row)),
            new=sum(view.new for view in shelves),
            rung_notes=RUNG_NOTES,
        )
        return HTMLResponse(html, headers=HEADERS)

    def click(self, visitor: str, form: dict[str, str]) -> Response:
        """Record a view of the clicked product and lead back to the page."""
        item_id = form.get("item_id", "")
        if item_id not in self._service.recommender.bundle.row_of_item:
            raise Problem(422, "The product that was clicked is not in the catalog any more.")
        shopper = _shopper(form.get("shopper", ""))
        position = form.get("position", "")
        event = Event(
            event_id=str(uuid.uuid4()),
            item_id=item_id,
            event_type=VIEW_EVENT,
            timestamp_us=self._moment(shopper or anonymous_key(visitor)),
            user_id=shopper or None,
            session_id=visitor,
            request_id=form.get("request_id"),
            position=int(position) if position.isdecimal() else None,
        )
        self._service.record([event])
        query = urlencode({"shopper": shopper, "viewed": item_id})
        return RedirectResponse(f"/?{query}", 303)

    def _shelf(
        self, name: Shelf, title: str, k: int, visitor: str, shopper: str, key: str
    ) -> ShelfView:
        answer = self._service.recommend(Wanted(key=key, shelf=name, k=k, user_id=shopper or None))
        before = self._looks.exchange((visitor, key, name), tuple(answer.item_ids))
        return shelf(name, title, _note(answer), answer, before)

    def _moment(self, key: str) -> int:
        """When a click happens, in microseconds.

        Now; but a demo shop whose data ended long ago goes on in its own time, a minute after
        the shopper's last event: a click years after all else would be a strange history.
        """
        now = datetime.now(UTC)
        until = self._service.recommender.bundle.manifest.lineage.data_until
        ended = now if until is None else datetime.fromisoformat(until).astimezone(UTC)
        if now - ended < REPLAY_AFTER:
            return microseconds(now)
        newest = self._service.state.recent(key, 1).timestamps_us
        return max([microseconds(ended), *newest]) + 60_000_000


class _Looks:
    """What each visitor was last shown, by shelf; the longest unused are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: OrderedDict[tuple[str, str, str], tuple[str, ...]] = OrderedDict()

    def exchange(
        self, look: tuple[str, str, str], shown: tuple[str, ...]
    ) -> tuple[str, ...] | None:
        """What was shown at this look's last time (None: never), and remember the new."""
        with self._lock:
            before = self._shown.pop(look, None)
            self._shown[look] = shown
            if len(self._shown) > LOOKS_REMEMBERED:
                self._shown.popitem(last=False)
        return before


def _shopper(text: str) -> str:
    """The user id that was asked for; other visitors' sessions are nobody's business."""
    user_id = text.strip()[:512]
    return "" if user_id.startswith(anonymous_key("")) else user_id


def _note(answer: Recommendation) -> str:
    """One line under a shelf's title."""
    popular = answer.served_by == "popular"
    if answer.shelf == "buy_again":
        return (
            "Nothing bought yet, so: what others buy most" if popular else "Due for another round"
        )
    if popular:
        return "What others buy most"
    if answer.served_by == "centroid":
        return "A first look around the shop"
    return "Not seen before, close to their taste"
