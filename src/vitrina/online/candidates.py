"""Retrieval: from a user vector and past purchases to a few hundred labelled candidates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.online.breaker import Skipped, describe
from vitrina.online.stages import Stages
from vitrina.rank.candidates import (
    ANN,
    POPULAR,
    REPURCHASE,
    SOURCES,
    Candidates,
    from_source,
    merge,
)
from vitrina.rank.repurchase import RepurchaseModel
from vitrina.rank.rules import FilterColumns, Filters, compile_filter
from vitrina.schema import History, Purchases
from vitrina.space import UserVector, Vectors

log = logging.getLogger(__name__)

Shelf = Literal["for_you", "discover", "buy_again"]

SHELF_SOURCES: Final[dict[Shelf, tuple[int, ...]]] = {
    "for_you": (REPURCHASE, ANN),
    "discover": (ANN,),
    "buy_again": (REPURCHASE,),
}
"""Which sources fill a shelf. An item of two sources keeps the label of the first."""

NOTHING: Final = from_source(np.zeros(0, np.int64), np.zeros(0, np.float32), POPULAR)


@dataclass(frozen=True, slots=True)
class Query:
    """What retrieval has to go by. `vector` None: nothing is known, ask the popularity list."""

    vector: UserVector | None
    history: History
    purchases: Purchases
    shelf: Shelf
    filters: Filters
    exclude_seen: bool


def take(candidates: Candidates, positions: slice) -> Candidates:
    """The candidates at these positions."""
    return Candidates(
        candidates.rows[positions], candidates.scores[positions], candidates.sources[positions]
    )


class Retriever:
    """The sources of one bundle. `count`: candidates asked of each."""

    def __init__(self, bundle: Bundle, count: int) -> None:
        self._bundle = bundle
        self._count = count
        self._columns: FilterColumns = bundle.catalog
        self._no_filter = Filters()
        self._available = compile_filter(self._no_filter, self._columns)
        self._repurchase = RepurchaseModel.from_json(bundle.ranking.get("repurchase", {}))

    def retrieve(self, query: Query, stages: Stages) -> Candidates:
        """Candidates that pass the filters; a source that fails is named in `stages.degraded`.

        The popularity list stands in for a source that fails or has nothing to go by, and for a
        shelf that would be empty; it too keeps to the filters. No candidates at all means that
        nothing in the catalog passes.
        """
        allowed = self.compile(query.filters)
        seen = self._seen(query) if query.exclude_seen else np.zeros(0, np.int64)
        finders: dict[int, Callable[[], Candidates]] = {
            ANN: lambda: self._nearest(query.vector, allowed, len(seen), stages),
            REPURCHASE: lambda: self._bought_before(query, allowed),
        }
        parts = []
        for source in SHELF_SOURCES[query.shelf]:
            if source == ANN and query.vector is None:
                parts.append(self.popular(allowed, seen))
                continue
            try:
                parts.append(finders[source]())
            except Exception as error:
                if not isinstance(error, Skipped):
                    log.warning("The source '%s' failed.", SOURCES[source], exc_info=True)
                stages.degraded.append(
                    f"candidates: the source '{SOURCES[source]}' failed ({describe(error)})"
                )
                parts.append(self.popular(allowed, seen))
        candidates = merge(*parts)
        if len(seen):
            candidates = candidates.keep(~np.isin(candidates.rows, seen))
        for unseen in (seen, seen[:0]):  # rather something seen before than an empty shelf
            if len(candidates):
                break
            candidates = self.popular(allowed, unseen)
        return candidates

    def similar(self, row: int, k: int, stages: Stages) -> Candidates:
        """The k available items nearest to an item, without the item itself."""
        vectors = self._bundle.vectors
        query = Vectors(vectors.space, vectors.values[row : row + 1])
        found = self._search(query, k + 1, self._available, stages)
        return take(found.keep(found.rows != row), slice(k))

    def compile(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Mask [items] of what passes, or None for everything; the usual one is kept ready."""
        if filters == self._no_filter:
            return self._available
        return compile_filter(filters, self._columns)

    def popular(
        self, allowed: NDArray[np.bool_] | None = None, seen: NDArray[np.int64] = NOTHING.rows
    ) -> Candidates:
        """The most popular items that pass, scored by popularity."""
        rows = self._bundle.popular_rows
        if allowed is not None:
            rows = rows[allowed[rows]]
            if not len(rows):  # popular_rows leaves out what is not available; the filter may not
                rows = np.flatnonzero(allowed)
                rows = rows[np.argsort(-self._bundle.popularity[rows], kind="stable")]
        rows = rows[: self._count + len(seen)]
        rows = rows[~np.isin(rows, seen)][: self._count]
        return from_source(rows, self._bundle.popularity[rows], POPULAR)

    def _nearest(
        self,
        vector: UserVector | None,
        allowed: NDArray[np.bool_] | None,
        seen: int,
        stages: Stages,
    ) -> Candidates:
        """Nearest neighbours of the user vector, so many that `count` unseen ones are left."""
        assert vector is not None, "without a vector the popularity list is asked instead"
        return self._search(vector.as_query(), self._count + seen, allowed, stages)

    def _search(
        self, query: Vectors, k: int, allowed: NDArray[np.bool_] | None, stages: Stages
    ) -> Candidates:
        k = min(k, len(self._bundle.item_ids))
        scores, rows = stages.call("index", lambda: self._bundle.index.search(query, k, allowed))
        return from_source(rows[0], scores[0], ANN).keep(rows[0] >= 0)

    def _bought_before(self, query: Query, allowed: NDArray[np.bool_] | None) -> Candidates:
        """The shopper's past purchases that are still in the catalog, by how due they are."""
        bought = query.purchases
        rows = self._rows(bought.item_ids)
        known = rows >= 0
        if allowed is not None:
            known &= allowed[rows]  # row -1 reads the last entry, and stays unknown
        if not known.any():
            return from_source(rows[:0], np.zeros(0, np.float32), REPURCHASE)
        rows = rows[known]
        scores = self._repurchase.log_odds(
            counts=np.array(bought.counts, np.int64)[known],
            recent=np.array(bought.recent, np.float32)[known],
            last_us=np.array(bought.last_us, np.int64)[known],
            newest_us=max([*query.history.timestamps_us[-1:], *bought.last_us]),
            repeat_rate=self._bundle.repeat_rate[rows],
        )
        best = np.argsort(-scores, kind="stable")[: self._count]
        return from_source(rows[best], scores[best], REPURCHASE)

    def _seen(self, query: Query) -> NDArray[np.int64]:
        """Rows of everything in the recent history and among the purchases."""
        rows = self._rows({*query.history.item_ids, *query.purchases.item_ids})
        return rows[rows >= 0]

    def _rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Row of each item, -1 where the catalog lacks it."""
        row_of_item = self._bundle.row_of_item
        return np.array([row_of_item.get(item_id, -1) for item_id in item_ids], np.int64)
