"""The nearest items where some were added since the index was built: it, and a scan of those."""

from __future__ import annotations

import numpy as np

from vitrina.filters import EVERYTHING, Selection
from vitrina.index.base import Found, Searcher
from vitrina.space import FloatMatrix, Vectors


class WithAdded:
    """A bundle's index, which stays as it is, and items whose rows follow those that it holds."""

    def __init__(self, index: Searcher, own: int, added: FloatMatrix) -> None:
        """own: items of the index; added float32 [m, dim]: unit vectors in its space."""
        self.space = index.space
        self._index = index
        self._own = own
        self._added = added

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """As `Searcher.search`; the mask has an entry for each added item, too."""
        scores, rows = self._index.search(queries, k, allowed)
        near = queries.values @ self._added.T
        if allowed.mask is not None:
            near = np.where(allowed.mask[self._own :], near, np.float32(-np.inf))
        nearest = np.arange(near.shape[1])[None].repeat(len(near), axis=0)
        if near.shape[1] > k:
            nearest = np.argpartition(-near, k - 1, axis=1)[:, :k]
            near = np.take_along_axis(near, nearest, axis=1)
        scores = np.concatenate([scores, near], axis=1)
        rows = np.concatenate([rows, np.where(near > -np.inf, self._own + nearest, -1)], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
