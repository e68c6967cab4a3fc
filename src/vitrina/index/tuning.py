"""Choosing an index for a catalog, and the least work that reaches the recall asked for."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import numpy as np

from vitrina.errors import DataError
from vitrina.index.base import IndexInfo
from vitrina.index.faiss import TUNED_K, FaissIndex
from vitrina.index.recall import overlap
from vitrina.settings import IndexSettings
from vitrina.space import Vectors, require_same_space

MAX_QUERIES: Final = 1000
"""More queries than this sharpen the measured recall by less than it varies between days."""


def build_index(
    vectors: Vectors, settings: IndexSettings, queries: Vectors
) -> tuple[FaissIndex, IndexInfo]:
    """Index `vectors` as the settings say, tuned and measured on `queries`.

    queries: real user vectors of the same space. Taste vectors lie elsewhere than item vectors,
    so an index tuned on items would promise a recall that shoppers do not get. Where no number of
    inverted lists reaches it, the index is exact.
    Raises DataError if inverted lists are wanted and there are no queries.
    """
    require_same_space(queries.space, vectors.space, "tuning queries", "item vectors")
    exact = FaissIndex.build_exact(vectors)
    if settings.kind == "exact" or (
        settings.kind == "auto" and len(vectors) <= settings.exact_below
    ):
        return exact, IndexInfo("exact", 1.0, settings.recall_target)
    if not len(queries):
        raise DataError(
            "An index of inverted lists is tuned on user vectors, and there are none. Give it "
            "some, or set index.kind = 'exact'."
        )
    index = FaissIndex.build_ivf(vectors)
    recall = _tune(index, exact, _sample(queries), settings.recall_target)
    if recall < settings.recall_target:
        return exact, IndexInfo("exact", 1.0, settings.recall_target)
    return index, IndexInfo("ivf", recall, settings.recall_target, index.nlist, index.nprobe)


def _tune(index: FaissIndex, exact: FaissIndex, queries: Vectors, target: float) -> float:
    """Set the smallest `nprobe` that reaches the target, or all lists; return its recall@500."""
    truth = exact.search(queries, TUNED_K)[1]

    def recall(nprobe: int) -> float:
        index.nprobe = nprobe
        return overlap(index.search(queries, TUNED_K)[1], truth)

    # Recall only grows with nprobe: a bisection finds the fewest lists.
    return recall(1 + bisect_left(range(1, index.nlist), target, key=recall))


def _sample(queries: Vectors) -> Vectors:
    """At most MAX_QUERIES of the queries, spread evenly over them."""
    rows = np.linspace(0, len(queries) - 1, min(len(queries), MAX_QUERIES)).astype(np.int64)
    return Vectors(queries.space, queries.values[rows])
