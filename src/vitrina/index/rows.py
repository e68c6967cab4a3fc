"""The vectors behind an index in memory, by row: for exact scores, and where few items pass."""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vitrina.index.base import Found, RowArray
from vitrina.space import FloatMatrix

GATHER_SHARE: Final = 0.2
"""Of all rows: with more than that, reading every vector in order costs less than picking them."""


_T = TypeVar("_T", bound=np.generic)


AT_ONCE: Final = 16
"""Queries whose scores of all rows are in memory together: 64 MB for a million rows."""


class RowVectors:
    """Vectors by row: those given at first, which stay mapped and shared, and those set since.

    present bool [rows]: which rows have one.
    """

    def __init__(self, values: FloatMatrix, present: NDArray[np.bool_]) -> None:
        self._given = values
        self._changed = np.zeros((0, values.shape[1]), np.float32)
        self._place = np.zeros(0, np.int32)  # by row: place in `_changed`, −1 for none
        self.present = present

    def of(self, rows: RowArray) -> FloatMatrix:
        """Vectors [..., dim] of rows int64 [...] that are or were present."""
        if not len(self._changed):
            return self._given[rows]
        vectors, places = self._given[np.minimum(rows, len(self._given) - 1)], self._place[rows]
        vectors[places >= 0] = self._changed[places[places >= 0]]
        return vectors

    def set(self, rows: RowArray, values: FloatMatrix) -> None:
        """Set the vectors [n, dim] of rows, which are there from now on."""
        size = max(len(self.present), int(rows.max(initial=-1)) + 1)
        self._place = _lengthened(self._place, size, -1)
        self._place[rows] = len(self._changed) + np.arange(len(rows), dtype=np.int32)
        self._changed = np.concatenate([self._changed, values])
        self.present = _lengthened(self.present, size, False)
        self.present[rows] = True

    def remove(self, rows: RowArray) -> None:
        """Forget rows that are present."""
        self.present[rows] = False

    def contain(self, rows: RowArray) -> NDArray[np.bool_]:
        """Which of the rows, whatever they are, are present."""
        known = (rows >= 0) & (rows < len(self.present))
        known[known] = self.present[rows[known]]
        return known

    def nearest(self, queries: FloatMatrix, k: int, passing: NDArray[np.bool_] | None) -> Found:
        """The k best by exact score, of the rows that pass (bool [≤ rows]; None: all)."""
        mask = self.present if passing is None else passing & self.present[: len(passing)]
        rows = np.flatnonzero(mask)
        picked = len(rows) <= GATHER_SHARE * len(self._given) or len(self._changed) > 0
        vectors = self.of(rows) if picked else self._given
        found = []
        for start in range(0, len(queries), AT_ONCE):
            scores = queries[start : start + AT_ONCE] @ vectors.T
            if not picked:
                scores = scores[:, rows]
            found.append(best_of(scores, np.broadcast_to(rows, scores.shape), k))
        return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])

    def rescored(self, queries: FloatMatrix, rows: RowArray, k: int) -> Found:
        """The k best of each query's candidates, rows int64 [n, c] (−1: none), by exact score."""
        # One by one: the vectors of all queries' candidates together are gigabytes.
        each = zip(np.maximum(rows, 0), queries, strict=True)
        scores = np.stack([self.of(candidates) @ query for candidates, query in each])
        scores[rows < 0] = -np.inf
        return best_of(scores, rows, k)


def best_of(scores: NDArray[np.float32], rows: RowArray, k: int) -> Found:
    """The k highest of each row's scores float32 [n, c], in order; −inf and −1 past the last."""
    count, width = scores.shape
    if width > k:
        best = np.argpartition(scores, width - k, axis=1)[:, width - k :]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64)
    found[0][:, :width] = np.take_along_axis(scores, order, 1)
    found[1][:, :width] = np.take_along_axis(rows, order, 1)
    found[1][found[0] == -np.inf] = -1
    return found


def _lengthened(column: NDArray[_T], size: int, blank: int) -> NDArray[_T]:
    """A copy of at least `size` entries, new ones blank."""
    longer = np.full(max(size, len(column)), blank, column.dtype)
    longer[: len(column)] = column
    return longer
