"""The request path, a plain object: usable in a notebook or an evaluation without any server."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.filters import NO_FILTERS, Filters
from vitrina.online.breaker import Breakers, describe
from vitrina.online.candidates import Query, Retriever, Shelf, Surface, take
from vitrina.online.cursor import Codes, encode_cursor, item_codes
from vitrina.online.hydrate import hydrate, hydrate_ids
from vitrina.online.past import Past, purchases_in
from vitrina.online.stages import Stages
from vitrina.online.user_vector import UserVectorizer
from vitrina.rank.candidates import FIRST_LIST, REPURCHASE, SOURCES, Candidates
from vitrina.rank.diversity import NO_GROUPS, PAGE, spread
from vitrina.rank.ranker import Ranker
from vitrina.schema import DeviceType, History
from vitrina.settings import ServeSettings
from vitrina.space import UserVector
from vitrina.state.base import HistoryStore, VectorCache

log = logging.getLogger(__name__)

NOTHING_PASSES = "Nothing in the catalog passes these filters. Widen them."
NOTHING_LEFT = "That was the last page of this list."

ACTIVE_SHOPPERS = 1000
"""Whose vectors are made before a new bundle takes over: some tenths of a second's work."""

NOBODY = ""
"""A history key that no shopper has."""


@dataclass(frozen=True, slots=True)
class Request:
    """For whom, how many, from what.

    key: whose stored history to read (`Event.history_key`); None: nobody's. history: used instead
    of the stored one. exclude_seen None: only on the shelf `discover`. surface, seeds, exclude:
    where it is shown, beside which items, and which items never to show, as in `Query`.
    device_type: on what; no stage reads it. shown: what
    earlier pages of this list have shown, in that order; None: this is the first.
    """

    key: str | None = None
    history: History | None = None
    k: int = 20
    shelf: Shelf = "for_you"
    filters: Filters = NO_FILTERS
    exclude_seen: bool | None = None
    surface: Surface = "home"
    device_type: DeviceType | None = None
    seeds: Sequence[str] = ()
    exclude: Sequence[str] = ()
    shown: Codes | None = None
    user_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An answer: the k best candidates with the ranker's scores, best first, and their JSON.

    served_by: the rung that made the user vector, or the least personal source that had to help
    where a precomputed list did. cursor: where the next page begins; None on the last. cached:
    whether the vector came from the cache; None where no cache was asked. stale_seconds: as its
    vector has them.
    """

    request_id: str
    request: Request
    bundle: Bundle
    served_by: str
    cached: bool | None
    stale_seconds: float | None
    degraded: Sequence[str]
    candidates: Candidates
    items: Sequence[orjson.Fragment]
    cursor: str | None
    timings_ms: dict[str, float]

    @property
    def shelf(self) -> Shelf:
        return self.request.shelf

    @property
    def item_ids(self) -> list[str]:
        return [self.bundle.item_ids[row] for row in self.candidates.rows]

    def to_json(self) -> bytes:
        """The answer of the recommendation route."""
        content: dict[str, Any] = {
            "request_id": self.request_id,
            "user_id": self.request.user_id,
            "session_id": self.request.session_id,
            "device_type": self.request.device_type,
            "shelf": self.shelf,
            "served_by": self.served_by,
            "degraded": self.degraded,
            "user_embedding_version": self.bundle.user_embedding_version,
            "item_embedding_version": self.bundle.space.version,
            "bundle": self.bundle.manifest.version,
            "items": self.items,
            "cursor": self.cursor,
            "timings_ms": self.timings_ms,
        }
        if not self.items:
            content["message"] = NOTHING_PASSES if self.request.shown is None else NOTHING_LEFT
        return orjson.dumps(content)


class Recommender:
    """Recommendations from one bundle. Safe to use from many threads.

    It fails open: a stage that raises is answered by its fallback and named in `degraded`.
    """

    def __init__(
        self,
        bundle: Bundle,
        histories: HistoryStore,
        cache: VectorCache | None,
        settings: ServeSettings,
        breakers: Breakers | None = None,
    ) -> None:
        """cache None: every user vector is computed. breakers None: every part is called, however
        often it failed and however long it takes (evaluation)."""
        self.bundle = bundle
        self.breakers = breakers or {}
        self._histories = histories
        self._cache = cache
        self._vectorizer = UserVectorizer(bundle)
        self._candidates = settings.candidates
        self._retriever = Retriever(bundle, settings.candidates)
        self._ranker = Ranker(bundle.ranking)

    def recommend(
        self, request: Request, stages: Stages | None = None, request_id: str = ""
    ) -> Recommendation:
        """The k best items for a shopper: never an error, and never empty while anything passes.

        request_id: the answer's; empty: one of its own.
        """
        stages = stages or Stages(self.breakers)
        past = stages.run("history", lambda: self._read(request, stages), Past)
        vector, cached = stages.run(
            "user_vector", lambda: self._user_vector(request, past, stages), lambda: (None, None)
        )
        candidates, begun = stages.run(
            "candidates",
            lambda: self._unshown(request, self._retrieve(request, past, vector, stages)),
            lambda: self._unshown(request, self._popular(request)),
        )
        best = stages.run(
            "rank",
            lambda: self._rank(request, candidates, begun, stages),
            lambda: take(candidates, slice(request.k)),
        )
        first = 1 if request.shown is None else 1 + len(request.shown)
        items = self._hydrate(best, stages, first)
        cursor = self._cursor(request, best) if len(candidates) > len(best) else None
        return Recommendation(
            request_id=request_id or uuid.uuid4().hex,
            request=request,
            bundle=self.bundle,
            served_by=_served_by(vector, best),
            cached=cached,
            stale_seconds=None if vector is None else vector.stale_seconds,
            degraded=stages.degraded,
            candidates=best,
            items=items,
            cursor=cursor,
            timings_ms=stages.finish(),
        )

    def prepared(self, requests: Sequence[Request], stages: Stages | None = None) -> Recommender:
        """This recommender, with its encoder and index asked for all of these requests at once.

        It answers as it would without. What fails here is left for each request to find out.
        """
        stages = stages or Stages()
        prepared = copy(self)
        try:
            pasts = [self._read(request, stages) for request in requests]
            known = [
                self._cached(request, past, stages)
                for request, past in zip(requests, pasts, strict=True)
            ]
            unknown = [
                past.history for past, vector in zip(pasts, known, strict=True) if vector is None
            ]
            vectorizer = stages.call("encoder", lambda: self._vectorizer.prepared(unknown))
            made = [vectorizer.vector(history, stages) for history in unknown]
            vectors = [vector for vector in (*known, *made) if vector is not None]
            prepared._vectorizer = vectorizer
            prepared._retriever = stages.call("index", lambda: self._retriever.prepared(vectors))
        except Exception as error:
            log.warning("Requests are answered one by one: %s.", describe(error))
            return self
        return prepared

    def over(self, bundle: Bundle) -> Recommender:
        """The same recommender over its bundle as amended by the shop (`bundle.amend`)."""
        recommender = copy(self)
        recommender.bundle = bundle
        recommender._retriever = Retriever(bundle, self._candidates)
        if bundle.added is not self.bundle.added:
            recommender._vectorizer = self._vectorizer.over(bundle)
        return recommender

    def similar(
        self, row: int, k: int, stages: Stages | None = None
    ) -> tuple[list[orjson.Fragment], Stages]:
        """Items near the item of a catalog row, and how the stages went."""
        stages = stages or Stages(self.breakers)
        nearest = stages.run(
            "candidates",
            lambda: self._retriever.similar(row, k, stages),
            lambda: self._retriever.going_with(row, k),
        )
        return self._hydrate(nearest, stages), stages

    def user_vector(self, key: str) -> UserVector | None:
        """The vector that a request of this shopper is served with; None if no rung works."""
        stages = Stages(self.breakers)
        request = Request(key=key)
        vector, _ = self._user_vector(request, self._read(request, stages), stages)
        return vector

    def warm_up(self) -> None:
        """Run every stage once, with a history as long as they get, so that no shopper waits.

        And make the vectors of the shoppers who came last, who would all ask for them at once;
        or ask the store for nobody's, for its first connection takes longer than a request may.
        """
        bundle = self.bundle
        length = bundle.manifest.max_history
        items = [bundle.item_ids[row] for row in np.resize(bundle.popular_rows, length)]
        history = History(items, [bundle.manifest.event_types[0]] * length, range(length))
        self.recommend(Request(history=history))
        newest = [] if self._cache is None else self._cache.newest(ACTIVE_SHOPPERS)
        for key in reversed(newest or [NOBODY]):
            try:
                self.user_vector(key)
            except Exception:
                log.warning("The shoppers' vectors are not made in advance.", exc_info=True)
                break

    def _read(self, request: Request, stages: Stages) -> Past:
        """The history and purchases sent along, else those stored, else nothing."""
        if request.history is not None:
            return Past(request.history, purchases_in(request.history))
        key = request.key
        if key is None:
            return Past()
        most = self.bundle.manifest.max_history
        shopper = stages.call("history store", lambda: self._histories.shopper(key, most))
        return Past(*shopper, stored=True)

    def _user_vector(
        self, request: Request, past: Past, stages: Stages
    ) -> tuple[UserVector | None, bool | None]:
        """The vector, and whether it was cached (None: not asked)."""
        cache, key = self._cache_for(request, past), request.key
        if cache is None or key is None:
            return self._vectorizer.vector(past.history, stages), None
        faults = len(stages.degraded)
        found = self._cached(request, past, stages)
        if found is not None:
            return found, True
        history = past.history if past.stored else None
        made = self._vectorizer.vector(past.history, stages)
        # A makeshift vector is not worth keeping, nor is one of a history that was not read.
        if made is not None and history is not None and len(stages.degraded) == faults:
            stages.optional("user_vector", "vector cache", lambda: cache.put(key, made, history))
        return made, False

    def _cached(self, request: Request, past: Past, stages: Stages) -> UserVector | None:
        """The shopper's vector, if the cache has one of this history; any, if that is not read."""
        cache, key = self._cache_for(request, past), request.key
        if cache is None or key is None:
            return None
        versions = self.bundle.user_embedding_version, self.bundle.space
        history = past.history if past.stored else None
        return stages.optional(
            "user_vector", "vector cache", lambda: cache.get(*versions, key, history)
        )

    def _cache_for(self, request: Request, past: Past) -> VectorCache | None:
        """The cache, if the vector may come from there: not that of a history sent along.

        Nor that of one with an item that the shop has just added: it may have been made without,
        before that or by a server that has not heard of it yet.
        """
        added = self.bundle.added
        if request.history is not None or (
            added is not None and not added.items.keys().isdisjoint(past.history.item_ids)
        ):
            return None
        return self._cache

    def _retrieve(
        self, request: Request, past: Past, vector: UserVector | None, stages: Stages
    ) -> Candidates:
        exclude_seen = request.exclude_seen
        query = Query(
            vector=vector,
            history=past.history,
            purchases=past.purchases,
            shelf=request.shelf,
            filters=request.filters,
            exclude_seen=request.shelf == "discover" if exclude_seen is None else exclude_seen,
            surface=request.surface,
            seeds=request.seeds,
            exclude=request.exclude,
        )
        return self._retriever.retrieve(query, stages)

    def _popular(self, request: Request) -> Candidates:
        """What is left when retrieval fails as a whole: what is popular and passes the filters."""
        return self._retriever.popular(request.filters, [*request.seeds, *request.exclude])

    def _unshown(
        self, request: Request, candidates: Candidates
    ) -> tuple[Candidates, NDArray[np.int32]]:
        """Candidates that no earlier page has shown, and the categories on a page begun there."""
        if request.shown is None:
            return candidates, NO_GROUPS
        codes, shown = self._codes(candidates), request.shown
        on_page_begun = np.isin(codes, shown[len(shown) - len(shown) % PAGE :])
        begun = self.bundle.catalog.narrowest[candidates.rows[on_page_begun]]
        return candidates.keep(~np.isin(codes, shown)), begun

    def _codes(self, candidates: Candidates) -> Codes:
        item_ids = self.bundle.item_ids
        return item_codes([item_ids[row] for row in candidates.rows])

    def _cursor(self, request: Request, best: Candidates) -> str:
        """Where the page after this one begins."""
        codes = self._codes(best)
        return encode_cursor(
            codes if request.shown is None else np.concatenate([request.shown, codes])
        )

    def _rank(
        self,
        request: Request,
        candidates: Candidates,
        begun: NDArray[np.int32],
        stages: Stages,
    ) -> Candidates:
        """The k best by the ranker's scores, spread over categories."""
        popularity = self.bundle.popularity
        scores = stages.call(
            "ranker", lambda: self._ranker.rank(candidates, request.shelf, popularity)
        )
        order = np.argsort(-scores, kind="stable")
        category = self.bundle.catalog.narrowest[candidates.rows[order]]
        best = order[spread(category, request.k, begun)]
        return Candidates(candidates.rows[best], scores[best], candidates.sources[best])

    def _hydrate(self, best: Candidates, stages: Stages, first: int = 1) -> list[orjson.Fragment]:
        """The items' JSON, or their ids alone where the catalog cannot be read."""
        return stages.run(
            "hydrate",
            lambda: stages.call("catalog", lambda: hydrate(self.bundle, best, first)),
            lambda: hydrate_ids(self.bundle, best, first),
        )


def _served_by(vector: UserVector | None, best: Candidates) -> str:
    """As `Recommendation.served_by`."""
    weakest = int(best.sources.max(initial=REPURCHASE))
    return SOURCES[weakest] if vector is None or weakest >= FIRST_LIST else vector.rung
