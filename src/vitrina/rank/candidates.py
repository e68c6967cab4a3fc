"""Candidates: what retrieval hands to ranking, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SOURCES: Final = ("ann", "repurchase", "similar", "co_visited", "best_seller", "popular")
"""Where a candidate can come from; `Candidates.sources` holds positions in this tuple."""

ANN, REPURCHASE, SIMILAR, CO_VISITED, BEST_SELLER, POPULAR = range(len(SOURCES))

_FEW: Final = 16
"""Up to so many rows it is quicker to compare with each of them than to sort."""

FIRST_LIST: Final = CO_VISITED
"""From here on they are precomputed lists, which stand in for the index, the best first."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Item rows with the score their source gave them; a row stands once.

    rows int64 [n]; scores float32 [n], comparable within a source only; sources int8 [n].
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, mask: NDArray[np.bool_]) -> Candidates:
        """The candidates where mask [n] is True."""
        return Candidates(self.rows[mask], self.scores[mask], self.sources[mask])


def from_source(rows: NDArray[np.int64], scores: NDArray[np.float32], source: int) -> Candidates:
    return Candidates(rows, scores, np.full(len(rows), source, np.int8))


def merge(*parts: Candidates) -> Candidates:
    """All candidates of all parts; an item in several keeps its entry of the first.

    Within a part an item stands once (else: `distinct`).
    """
    parts = tuple(part for part in parts if len(part)) or parts[:1]
    merged = parts[0]
    for part in parts[1:]:
        known = among(part.rows, merged.rows)
        merged = _joined(merged, part.keep(~known) if known.any() else part)
    return merged


def among(rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the rows [n] are among the others [m]; bool [n]."""
    if len(others) > _FEW:
        return np.isin(rows, others)
    found: NDArray[np.bool_] = np.logical_or.reduce(others[:, None] == rows, axis=0)
    return found


def distinct(candidates: Candidates) -> Candidates:
    """Each item once, with its first entry."""
    _, first = np.unique(candidates.rows, return_index=True)
    first.sort()
    return Candidates(candidates.rows[first], candidates.scores[first], candidates.sources[first])


def _joined(one: Candidates, other: Candidates) -> Candidates:
    return Candidates(
        np.concatenate([one.rows, other.rows]),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.sources, other.sources]),
    )
