"""What stands in for the index: lists that were made with the bundle, read as arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.rank.candidates import (
    BEST_SELLER,
    CO_VISITED,
    POPULAR,
    Candidates,
    from_source,
    merge,
)

RECENT: Final = 20
"""The newest events of a history that are asked for what goes with them."""

_NONE: Final = np.zeros(0, np.int64)


class StandIns:
    """The precomputed lists of one bundle. count: items taken of the popularity list."""

    def __init__(self, bundle: Bundle, count: int) -> None:
        self._bundle = bundle
        self._count = count

    def near(
        self,
        recent: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None = None,
        seen: NDArray[np.int64] = _NONE,
    ) -> Candidates:
        """What is met in the same visits as the items `recent`, then what sells best in their
        categories, then what is popular.

        recent int64 [r]: rows, newest first, some -1. allowed bool [items]: what passes; None:
        everything. seen: rows to leave out.
        """
        recent = recent[:RECENT]
        recent = recent[recent >= 0]
        lists = merge(self._co_visited(recent), self._best_sellers(recent))
        if allowed is not None:
            lists = lists.keep(allowed[lists.rows])
        if len(seen):
            lists = lists.keep(~np.isin(lists.rows, seen))
        return merge(lists, self.popular(allowed, seen))

    def popular(
        self, allowed: NDArray[np.bool_] | None = None, seen: NDArray[np.int64] = _NONE
    ) -> Candidates:
        """The most popular items that pass, scored by popularity."""
        wanted = self._count + len(seen)
        rows = self._bundle.popular_rows
        if allowed is not None:
            rows = _first_passing(rows, allowed, wanted)
            if not len(rows):  # popular_rows leaves out what is not available; the filter may not
                rows = np.flatnonzero(allowed)
                rows = rows[np.argsort(-self._bundle.popularity[rows], kind="stable")]
        rows = rows[:wanted]
        rows = rows[~np.isin(rows, seen)][: self._count]
        return from_source(rows, self._bundle.popularity[rows], POPULAR)

    def _co_visited(self, recent: NDArray[np.int64]) -> Candidates:
        """Scored Σ 1 / (1 + age) / (1 + place) over the lists of recent items that name a row."""
        lists = self._bundle.lists.covisited
        lists = lists[recent[recent < len(lists)]]  # items added since are in no lists
        ages, places = np.ogrid[: lists.shape[0], : lists.shape[1]]
        weights = 1.0 / ((1.0 + ages) * (1.0 + places))
        named = lists >= 0
        rows, position = np.unique(lists[named], return_inverse=True)
        scores = np.bincount(position, weights[named], minlength=len(rows)).astype(np.float32)
        best = np.argsort(-scores, kind="stable")
        return from_source(rows[best].astype(np.int64), scores[best], CO_VISITED)

    def _best_sellers(self, recent: NDArray[np.int64]) -> Candidates:
        """Scored by popularity."""
        lists = self._bundle.lists.best_sellers
        categories = np.unique(self._bundle.catalog.narrowest[recent])
        # Categories that the shop has added since the bundle was made have no list yet.
        lists = lists[categories[(categories >= 0) & (categories < len(lists))]]
        rows = np.unique(lists[lists >= 0]).astype(np.int64)
        popularity = self._bundle.popularity[rows]
        best = np.argsort(-popularity, kind="stable")
        return from_source(rows[best], popularity[best], BEST_SELLER)


def _first_passing(
    rows: NDArray[np.int64], allowed: NDArray[np.bool_], count: int
) -> NDArray[np.int64]:
    """The first `count` rows that are allowed, or all: most often without looking at every row."""
    looked = 2 * count
    while True:
        passing = rows[:looked][allowed[rows[:looked]]]
        if len(passing) >= count or looked >= len(rows):
            return passing[:count]
        looked *= 8
