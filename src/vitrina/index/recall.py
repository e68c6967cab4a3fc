"""How much of the truth an approximate index finds."""

from __future__ import annotations

import numpy as np

from vitrina.index.base import RowArray, VectorIndex
from vitrina.space import Vectors


def recall_at_k(index: VectorIndex, exact: VectorIndex, queries: Vectors, k: int) -> float:
    """Share of the exact index's k best rows that `index` returns, averaged over queries.

    Where fewer than k rows exist, the share of those.
    """
    return overlap(index.search(queries, k)[1], exact.search(queries, k)[1])


def overlap(found: RowArray, truth: RowArray) -> float:
    """Mean over queries of |found ∩ truth| / |truth|; rows int64 [n, k], -1 where none."""
    shares = [
        np.isin(wanted[wanted >= 0], row).mean()
        for row, wanted in zip(found, truth, strict=True)
        if (wanted >= 0).any()
    ]
    return float(np.mean(shares)) if shares else 1.0
