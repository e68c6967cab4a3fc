"""The parts of a running service, put together once and shared by all routes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vitrina.bundle.bundle import Bundle
from vitrina.bundle.registry import Registry
from vitrina.errors import StateError, Unconfirmed
from vitrina.online.deadline import Deadlines
from vitrina.online.live_catalog import LiveCatalog
from vitrina.online.load import Load
from vitrina.online.logs import Sparingly
from vitrina.online.problems import Problem
from vitrina.online.recommender import Recommendation, Recommender, Request
from vitrina.online.releases import Releases
from vitrina.online.request_id import current_request_id
from vitrina.online.shadow import Shadow
from vitrina.online.stages import NOTHING, Stages, make_breakers
from vitrina.online.telemetry import Telemetry
from vitrina.schema import Event
from vitrina.settings import Settings
from vitrina.state.base import Receipt
from vitrina.state.opening import open_catalog_changes, open_stores

if TYPE_CHECKING:
    from vitrina.online.tracing import Tracing

log = logging.getLogger(__name__)

_UNDER_LOAD: Final = {"ranker": "the server is overloaded"}


class Service:
    """State, cache, the bundle in service and the counters. Safe to use from many threads.

    Raises DataError when the state cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        serve = settings.serve
        self.settings = settings
        self.load = Load(serve.max_in_flight)
        self.draining = False
        """Whether the server is about to end, and load balancers should look elsewhere."""
        self.telemetry = Telemetry()
        self.tracing = _tracing(serve.otlp_endpoint)
        self.deadlines = Deadlines()
        self._lines = Sparingly(log)
        self.state, self.cache = open_stores(settings)
        registry = Registry(settings.paths.bundles)
        self.shadow = Shadow(
            registry,
            lambda bundle: Recommender(self.catalog.over(bundle), self.state, None, serve),
            lambda recommender: self.catalog.up_to_date(recommender),
            self.telemetry,
        )
        self.releases = Releases(
            registry, self._make_recommender, serve.reload_seconds, self.shadow
        )
        self.catalog = LiveCatalog(open_catalog_changes(settings), self.releases)

    def start(self) -> None:
        """Load the promoted bundle, if any, and follow the registry from now on."""
        self.releases.start()
        self.catalog.start()

    def stop(self) -> None:
        self.catalog.stop()
        self.releases.stop()
        self.deadlines.close()
        self.shadow.stop()
        self.cache.close()
        self.state.close()
        if self.tracing is not None:
            self.tracing.stop()

    @property
    def recommender(self) -> Recommender:
        """What serves at this moment; keep the reference for the whole request. 503 if none."""
        recommender = self.releases.recommender
        if recommender is None:
            raise Problem(503, self.releases.problem or "The first bundle is being loaded.")
        return recommender

    def record(self, events: Sequence[Event]) -> dict[str, int]:
        """Store events durably; the shoppers' next recommendations take them into account.

        Items the serving bundle lacks are stored as well (the catalog may be newer than the
        bundle) and counted in `unknown_items`. Raises Problem (503) if the store takes none, or
        does not say whether it has.
        """
        try:
            accepted = self.state.append(events)
        except Unconfirmed as error:
            self._lines.log(
                logging.ERROR, "unconfirmed", "Events may have been stored, or not.", exc_info=True
            )
            raise Problem(
                503,
                "The store has not confirmed the events: all of them are stored, or none. Send "
                "them again; ids count once.",
            ) from error
        except StateError as error:
            self._lines.log(logging.ERROR, "unstored", "Events could not be stored.", exc_info=True)
            raise Problem(503, "No event was stored. Send them again; ids count once.") from error
        duplicates = len(events) - accepted
        self.telemetry.events.labels("accepted").inc(accepted)
        self.telemetry.events.labels("duplicate").inc(duplicates)
        recommender = self.releases.recommender
        unknown = 0
        if recommender is not None:
            known = recommender.bundle.row_of_item
            unknown = sum(event.item_id not in known for event in events)
        return {"accepted": accepted, "duplicates": duplicates, "unknown_items": unknown}

    def recommend(self, request: Request) -> Recommendation:
        """Recommend, however long it takes, and count it."""
        answer = self.recommender.recommend(request)
        self.count(answer)
        return answer

    async def recommend_in_time(self, request: Request, deadline_ms: float) -> Recommendation:
        """Recommend within a deadline, and without ranking while the server is overloaded.

        To be counted once it is sent (`count`).
        """
        return await self._in_time(self.recommender, request, deadline_ms, current_request_id.get())

    async def recommend_all_in_time(
        self, requests: Sequence[Request], deadline_ms: float
    ) -> list[Recommendation]:
        """The answers to several requests, in their order, each within a deadline; to be counted.

        Encoder and index are asked for all of them at once, within a deadline of its own.
        """
        recommender = self.recommender
        prepared = await self.deadlines.keep(
            lambda stages: recommender.prepared(requests, stages), {}, deadline_ms / 1e3
        )
        return [await self._in_time(prepared, request, deadline_ms) for request in requests]

    async def _in_time(
        self, recommender: Recommender, request: Request, deadline_ms: float, request_id: str = ""
    ) -> Recommendation:
        """request_id: the answer's; empty: one of its own."""

        def work(stages: Stages) -> Recommendation:
            return recommender.recommend(request, stages, request_id)

        return await self.deadlines.keep(
            work,
            recommender.breakers,
            deadline_ms / 1e3,
            _UNDER_LOAD if self.load.overloaded else NOTHING,
        )

    def count(self, answer: Recommendation) -> None:
        """Count an answer, log what did not go as planned, and let the shadow repeat it."""
        self.telemetry.recommended(answer)
        if self.tracing is not None:
            self.tracing.recommended(answer)
        if answer.degraded:
            self._log(answer)
        if not self.load.overloaded:
            self.shadow.offer(answer)

    def _log(self, answer: Recommendation) -> None:
        """A line about an answer that did not go as planned, or its place in a later count.

        Its kind is which stages those were, and whether an older vector had to do.
        """
        reasons = [*answer.degraded]
        kind = {reason.partition(":")[0] for reason in reasons}
        if answer.stale_seconds is not None:
            reasons.append(f"the cached vector is {answer.stale_seconds:.1f} s old")
            kind.add("stale")
        self._lines.log(
            logging.WARNING,
            " ".join(sorted(kind)),
            f"Request {answer.request_id} was served by {answer.served_by} after "
            f"{answer.timings_ms['total']:.1f} ms: {'; '.join(reasons)}.",
        )

    def erase(self, key: str) -> Receipt:
        """Forget the person with this history key. Raises SessionTaken, StateError."""
        keys = set(self.state.keys_of(key))
        try:
            receipt = self.state.erase(key)
            keys.update(receipt.keys)
        finally:  # it may have been done although its answer got lost
            for each in keys:
                self.cache.forget(each)
        return receipt

    def _make_recommender(self, bundle: Bundle) -> Recommender:
        serve = self.settings.serve
        breakers = make_breakers(serve.deadline_ms)
        bundle = self.catalog.over(bundle)
        return Recommender(bundle, self.state, self.cache, serve, breakers)


def _tracing(endpoint: str | None) -> Tracing | None:
    """Raises MissingExtra where traces are wanted and cannot be made."""
    if endpoint is None:
        return None
    from vitrina.online.tracing import Tracing

    return Tracing(endpoint)
