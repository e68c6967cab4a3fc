"""Retrieval: from a user vector and past purchases to a few hundred labelled candidates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.filters import NO_FILTERS, Filters, Selection, select
from vitrina.index.base import RowArray, Searcher
from vitrina.online.added import WithAdded
from vitrina.online.batch import RememberedSearches
from vitrina.online.breaker import Skipped, describe
from vitrina.online.stages import Stages
from vitrina.online.stand_ins import StandIns
from vitrina.rank.candidates import (
    ANN,
    REPURCHASE,
    SIMILAR,
    SOURCES,
    Candidates,
    among,
    distinct,
    from_source,
    merge,
)
from vitrina.rank.repurchase import RepurchaseModel
from vitrina.schema import History, Purchases
from vitrina.space import UserVector, Vectors

log = logging.getLogger(__name__)

Shelf = Literal["for_you", "discover", "buy_again"]
Surface = Literal["home", "product_page", "cart", "browse"]
"""Where the answer is shown."""

SHELF_SOURCES: Final[dict[Shelf, tuple[int, ...]]] = {
    "for_you": (REPURCHASE, ANN),
    "discover": (ANN,),
    "buy_again": (REPURCHASE,),
}
"""Which sources fill a shelf. An item of two sources keeps the label of the first."""

STEERING_SEEDS: Final = 10
"""A cart may hold more; its newest items steer, so that each answer costs a bounded search."""

SEED_SHARE: Final = 0.5
"""What nearness to a seed counts, beside 1 − SEED_SHARE for nearness to the shopper's vector."""


@dataclass(frozen=True, slots=True)
class Query:
    """What retrieval has to go by. `vector` None: nothing is known, ask the popularity list.

    seeds: what the answer is shown beside (the product looked at, the cart), newest last; they are
    a source of candidates and are never shown, no more than `exclude`.
    """

    vector: UserVector | None
    history: History
    purchases: Purchases
    shelf: Shelf
    filters: Filters
    exclude_seen: bool
    surface: Surface = "home"
    seeds: Sequence[str] = ()
    exclude: Sequence[str] = ()

    @property
    def sources(self) -> tuple[int, ...]:
        """Where candidates come from, in the order of precedence of their labels."""
        sources = SHELF_SOURCES[self.shelf]
        if self.surface == "product_page" and self.shelf == "for_you":
            sources = (ANN,)  # who looks at one product is not restocking the pantry
        if self.seeds and ANN in sources:
            sources = (*(source for source in sources if source != ANN), SIMILAR, ANN)
        return sources


def take(candidates: Candidates, positions: slice) -> Candidates:
    """The candidates at these positions."""
    return Candidates(
        candidates.rows[positions], candidates.scores[positions], candidates.sources[positions]
    )


def _kept(selection: Selection) -> Selection:
    """With a mask that nobody can change, whose form for the index is then kept, too."""
    if selection.mask is None:
        return selection
    mask = selection.mask.view()
    mask.flags.writeable = False
    return Selection(selection.filters, mask)


class Retriever:
    """The sources of one bundle. `count`: candidates asked of each."""

    def __init__(self, bundle: Bundle, count: int) -> None:
        self._bundle = bundle
        self._count = count
        self._index: Searcher = bundle.index
        if bundle.added is not None:
            self._index = WithAdded(bundle.index, len(bundle.vectors), bundle.added.vectors)
        self._available = _kept(select(NO_FILTERS, bundle.catalog))
        self._stand_ins = StandIns(bundle, count)
        self._repurchase = RepurchaseModel.from_json(bundle.ranking.get("repurchase", {}))

    def prepared(self, vectors: Sequence[UserVector]) -> Retriever:
        """The same, with what is near these shoppers found already, in one search.

        What is found is for requests without filters that hide no more than a history.
        """
        if not vectors:
            return self
        bundle = self._bundle
        distinct = {vector.values.tobytes(): vector.values for vector in vectors}
        queries = Vectors(bundle.space, np.stack(list(distinct.values())))
        k = min(self._count + bundle.manifest.max_history, len(bundle.item_ids))
        prepared = copy(self)
        prepared._index = RememberedSearches(self._index, queries, k, self._available)
        return prepared

    def retrieve(self, query: Query, stages: Stages) -> Candidates:
        """Candidates that pass the filters; a source that fails is named in `stages.degraded`.

        The precomputed lists stand in for a source that fails or has nothing to go by, and the
        popularity list for a shelf that would be empty; they keep to the filters, too. No
        candidates at all means that nothing in the catalog passes.
        """
        allowed = self.select(query.filters)
        seeds = self._rows(query.seeds)
        never = np.concatenate([seeds, self._rows(query.exclude)])
        hidden = np.concatenate([never, self._seen(query)]) if query.exclude_seen else never
        steering = seeds[seeds >= 0][-STEERING_SEEDS:]
        finders: dict[int, Callable[[], Candidates]] = {
            ANN: lambda: self._nearest(query.vector, allowed, len(hidden), stages),
            SIMILAR: lambda: self._near_seeds(steering, allowed, len(hidden), stages),
            REPURCHASE: lambda: self._bought_before(query, allowed.mask),
        }
        parts = []
        for source in query.sources:
            if source == ANN and query.vector is None:
                parts.append(self._stand_ins.near(self._recent(query), allowed.mask, hidden))
                continue
            try:
                parts.append(finders[source]())
            except Exception as error:
                if not isinstance(error, Skipped):
                    log.warning("The source '%s' failed.", SOURCES[source], exc_info=True)
                stages.degraded.append(
                    f"candidates: the source '{SOURCES[source]}' failed ({describe(error)})"
                )
                parts.append(self._stand_ins.near(self._recent(query), allowed.mask, hidden))
        candidates = merge(*parts)
        if len(hidden):
            candidates = candidates.keep(~among(candidates.rows, hidden))
        for left_out in (hidden, never):  # rather something seen before than an empty shelf
            if len(candidates):
                break
            candidates = self._stand_ins.popular(allowed.mask, left_out)
        return self._steered(candidates, query.vector, steering)

    def popular(self, filters: Filters, never: Iterable[str]) -> Candidates:
        """The most popular items that pass, but for those that are not to be shown."""
        return self._stand_ins.popular(self.select(filters).mask, self._rows(never))

    def similar(self, row: int, k: int, stages: Stages) -> Candidates:
        """The k available items nearest to an item, without the item itself."""
        query = Vectors(self._bundle.space, self._bundle.vectors_of(np.array([row])))
        found = self._search(query, k + 1, self._available, stages)
        return take(found.keep(found.rows != row), slice(k))

    def going_with(self, row: int, k: int) -> Candidates:
        """The same without the index: what the precomputed lists have for an item."""
        item = np.array([row])
        return take(self._stand_ins.near(item, self._available.mask, item), slice(k))

    def select(self, filters: Filters) -> Selection:
        """What passes; the usual selection is kept ready."""
        if filters is NO_FILTERS or filters == NO_FILTERS:
            return self._available
        catalog = self._bundle.catalog
        passing, listed = select(filters, catalog), catalog.listed
        if listed is None or filters.available_only:  # what was deleted is not available
            return passing
        return Selection(filters, listed if passing.mask is None else passing.mask & listed)

    def _nearest(
        self,
        vector: UserVector | None,
        allowed: Selection,
        seen: int,
        stages: Stages,
    ) -> Candidates:
        """Nearest neighbours of the user vector, so many that `count` unseen ones are left."""
        assert vector is not None, "without a vector the popularity list is asked instead"
        return self._search(vector.as_query(), self._count + seen, allowed, stages)

    def _near_seeds(
        self, seeds: RowArray, allowed: Selection, hidden: int, stages: Stages
    ) -> Candidates:
        """Nearest neighbours of the seeds, an equal share of the `count` of each."""
        if not len(seeds):
            return from_source(seeds, np.zeros(0, np.float32), SIMILAR)
        query = Vectors(self._bundle.space, self._bundle.vectors_of(seeds))
        k = min(-(-self._count // len(seeds)) + hidden, len(self._bundle.item_ids))
        scores, rows = stages.call("index", lambda: self._index.search(query, k, allowed))
        found = rows >= 0
        return distinct(from_source(rows[found], scores[found], SIMILAR))

    def _steered(
        self, candidates: Candidates, vector: UserVector | None, seeds: RowArray
    ) -> Candidates:
        """Retrieved candidates scored by their nearness to shopper and seeds together.

        The shopper's vector stays what it is; only how much it counts here changes. Of several
        seeds the nearest counts: what goes with one thing in the cart need not go with all.
        """
        if not len(seeds):
            return candidates
        vectors_of = self._bundle.vectors_of
        retrieved = (candidates.sources == ANN) | (candidates.sources == SIMILAR)
        items = vectors_of(candidates.rows[retrieved])
        nearness = (items @ vectors_of(seeds).T).max(axis=1, initial=-1.0)
        if vector is not None:
            nearness = SEED_SHARE * nearness + (1 - SEED_SHARE) * (items @ vector.values)
        scores = candidates.scores.copy()
        scores[retrieved] = nearness
        return Candidates(candidates.rows, scores, candidates.sources)

    def _search(self, query: Vectors, k: int, allowed: Selection, stages: Stages) -> Candidates:
        k = min(k, len(self._bundle.item_ids))
        scores, rows = stages.call("index", lambda: self._index.search(query, k, allowed))
        found = int(np.count_nonzero(rows[0] >= 0))  # those that are missing stand at the end
        return from_source(rows[0][:found], scores[0][:found], ANN)

    def _bought_before(self, query: Query, allowed: NDArray[np.bool_] | None) -> Candidates:
        """The shopper's past purchases that are still in the catalog, by how due they are."""
        bought = query.purchases
        rows = self._rows(bought.item_ids)
        known = rows >= 0
        if allowed is not None:
            known &= allowed[rows]  # row -1 reads the last entry, and stays unknown
        if not known.any():
            return from_source(rows[:0], np.zeros(0, np.float32), REPURCHASE)
        counts = np.array(bought.counts, np.int64)
        recent = np.array(bought.recent, np.float32)
        last_us = np.array(bought.last_us, np.int64)
        if not known.all():
            rows, counts = rows[known], counts[known]
            recent, last_us = recent[known], last_us[known]
        newest_us = max([*query.history.timestamps_us[-1:], *bought.last_us])
        scores = self._repurchase.log_odds(
            counts, recent, last_us, newest_us, self._bundle.repeat_rate[rows]
        )
        best = np.argsort(-scores, kind="stable")[: self._count]
        return from_source(rows[best], scores[best], REPURCHASE)

    def _recent(self, query: Query) -> NDArray[np.int64]:
        """Rows of what the shopper met last, and before all of what the answer stands beside."""
        return self._rows([*query.history.item_ids, *query.seeds])[::-1]

    def _seen(self, query: Query) -> NDArray[np.int64]:
        """Rows of everything in the recent history and among the purchases."""
        return self._rows({*query.history.item_ids, *query.purchases.item_ids})

    def _rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Row of each item, -1 where the catalog lacks it."""
        row_of_item = self._bundle.row_of_item
        return np.array([row_of_item.get(item_id, -1) for item_id in item_ids], np.int64)
