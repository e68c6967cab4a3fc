"""What the towers have to beat, each a few lines around a well-known method.

Each baseline scores the whole catalog for a batch of shoppers: `scores(users)` → float32
[B, items], higher is better. All learn from the events given to them and nothing else.
"""

from __future__ import annotations

import warnings
from typing import Final, Protocol

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vitrina.lake.sequences import Interactions
from vitrina.towers.factors import HEAD_ITEMS, RIDGE, ease, met_matrix
from vitrina.towers.moments import US_PER_DAY

RECENT_DAYS: Final = 28
NEIGHBOURS: Final = 200


class Baseline(Protocol):
    """A fitted baseline."""

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores float32 [B, items] for B shoppers."""
        ...


class RecentPopularity:
    """The number of events of the last four weeks, the same list for everybody."""

    def __init__(self, interactions: Interactions, items: int) -> None:
        end = int(interactions.timestamp_us.max()) + 1
        recent = interactions.timestamp_us >= end - RECENT_DAYS * US_PER_DAY
        self._counts = np.bincount(interactions.row[recent], minlength=items).astype(np.float32)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.tile(self._counts, (len(users), 1))


class OwnFrequency:
    """How often the shopper turned to the item before; nothing new is ever shown."""

    def __init__(self, interactions: Interactions, items: int) -> None:
        counts = np.ones(len(interactions), np.float32)
        shape = (len(interactions.user_ids), items)
        self._counts = sp.csr_matrix((counts, (interactions.user, interactions.row)), shape)
        self._counts.sum_duplicates()

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        dense: NDArray[np.float32] = self._counts[users].toarray()
        return dense


class ItemKNN:
    """Item-item cosine on "met or not" (Deshpande and Karypis, TOIS 2004).

    neighbours: how many of the most similar items an item speaks for.
    """

    def __init__(
        self, interactions: Interactions, items: int, *, neighbours: int = NEIGHBOURS
    ) -> None:
        self._met = met_matrix(interactions, items)
        model = CosineRecommender(K=neighbours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's note on a matrix of its own making
            model.fit(self._met, show_progress=False)
        self._similarity = model.similarity

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        dense: NDArray[np.float32] = (self._met[users] @ self._similarity).toarray()
        return dense.astype(np.float32)


class ImplicitALS:
    """iALS on "met or not" (Hu, Koren, Volinsky, ICDM 2008).

    factors: length of the vectors. regularization: how strongly they are drawn to zero. alpha: how
    much more an event counts than none. Regularisation 10 and alpha 5 had the best recall@100 on
    new items of six settings tried on the demo data's reported cut; see
    `docs/explanation/evaluation.md` for one that is better at the very top.
    """

    def __init__(
        self,
        interactions: Interactions,
        items: int,
        *,
        factors: int = 64,
        regularization: float = 10.0,
        alpha: float = 5.0,
    ) -> None:
        with threadpool_limits(1, "blas"):
            self._model = AlternatingLeastSquares(
                factors=factors,
                regularization=regularization,
                alpha=alpha,
                iterations=15,
                random_state=0,
                use_gpu=False,
            )
            self._model.fit(met_matrix(interactions, items), show_progress=False)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._model.user_factors[users] @ self._model.item_factors.T
        return scores


class EaseScores:
    """EASE (Steck, WWW 2019) on "met or not", over the most met items; others score 0.

    ridge, head_items: see `ease`.
    """

    def __init__(
        self,
        interactions: Interactions,
        items: int,
        *,
        ridge: float = RIDGE,
        head_items: int = HEAD_ITEMS,
    ) -> None:
        matrix = met_matrix(interactions, items)
        self._model = ease(matrix, ridge=ridge, head_items=head_items)
        self._items = items
        self._met = matrix[:, self._model.head]

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        dense = np.zeros((len(users), self._items), np.float32)
        dense[:, self._model.head] = self._met[users] @ self._model.weights
        return dense
