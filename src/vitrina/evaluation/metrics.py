"""Ranking metrics, vectorised over shoppers, with bootstrap intervals over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Rows = NDArray[np.int64]
PerShopper = NDArray[np.float64]

DEPTH: Final = 100
"""Lists are judged down to here."""


def hits(ranked: Rows, targets: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which places of the ranked lists hold a target.

    ranked int64 [B, K]: item rows, best first, -1 where a list has ended. targets [B, items]:
    non-zero where the shopper turned to the item. Returns bool [B, K].
    """
    shopper = np.repeat(np.arange(len(ranked)), ranked.shape[1])
    items = targets.shape[1]
    wanted = np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr)) * items
    found = np.isin(shopper * items + ranked.ravel(), wanted + targets.indices)
    return (found & (ranked.ravel() >= 0)).reshape(ranked.shape)


def recall_at_k(hit: NDArray[np.bool_], targets: NDArray[np.int64], k: int) -> PerShopper:
    """Share of a shopper's targets among the first k. hit [B, K]; targets int64 [B] ≥ 1."""
    share: PerShopper = hit[:, :k].sum(axis=1) / targets
    return share


def ndcg_at_k(hit: NDArray[np.bool_], targets: NDArray[np.int64], k: int) -> PerShopper:
    """Normalised discounted cumulative gain, binary (Järvelin and Kekäläinen, TOIS 2002).

    Normalised by the best list there could be: all targets, at most k, in front.
    """
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    best = np.cumsum(discount)[np.minimum(targets, k) - 1]
    gain: PerShopper = hit[:, :k] @ discount[: hit.shape[1]] / best
    return gain


def reciprocal_rank(hit: NDArray[np.bool_]) -> PerShopper:
    """One over the place of the first target; 0 without one. Its mean is the MRR."""
    first = hit.argmax(axis=1)
    rank: PerShopper = np.where(hit.any(axis=1), 1.0 / (first + 1.0), 0.0)
    return rank


def accuracy(ranked: Rows, targets: sp.csr_matrix) -> dict[str, PerShopper]:
    """Each accuracy metric, shopper by shopper. Every shopper must have a target."""
    hit = hits(ranked, targets)
    count = np.diff(targets.indptr).astype(np.int64)
    return {
        "recall@10": recall_at_k(hit, count, 10),
        "recall@100": recall_at_k(hit, count, DEPTH),
        "ndcg@10": ndcg_at_k(hit, count, 10),
        "mrr": reciprocal_rank(hit),
    }


def coverage(ranked: Rows, items: int, k: int) -> float:
    """Share of the catalog that is in somebody's first k."""
    shown = np.unique(ranked[:, :k])
    return float((shown >= 0).sum() / items)


def mean_popularity(ranked: Rows, popularity: NDArray[np.float64], k: int) -> float:
    """Mean popularity percentile (0 … 1) of what is shown in the first k places."""
    rank = np.argsort(np.argsort(popularity, kind="stable"), kind="stable")
    shown = ranked[:, :k]
    return float((rank[shown[shown >= 0]] / max(len(popularity) - 1, 1)).mean())


def intra_list_diversity(ranked: Rows, vectors: NDArray[np.float32], k: int) -> float:
    """Mean over shoppers of 1 − the mean cosine of pairs in the first k (Ziegler, WWW 2005).

    vectors float32 [items, dim]: unit vectors. Lists shorter than 2 count for nothing.
    """
    shown = ranked[:, :k]
    real = shown >= 0
    listed = vectors[shown] * real[:, :, None]
    count = real.sum(axis=1)
    # The squared length of the sum of unit vectors is count + 2 · the sum over pairs.
    pairs = ((listed.sum(axis=1) ** 2).sum(axis=1) - count) / 2
    enough = count >= 2
    mean_cosine = pairs[enough] / (count[enough] * (count[enough] - 1) / 2)
    return float(1.0 - mean_cosine.mean()) if enough.any() else 0.0


class Bootstrap:
    """95 % percentile intervals of means over shoppers (Efron and Tibshirani, 1993, ch. 13).

    All metrics and methods share the resamples, so differences of methods are paired. Where there
    is no shopper, every figure is 0.
    """

    def __init__(self, shoppers: int, samples: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        drawn = max(shoppers, 1)
        self._weights = rng.multinomial(drawn, np.full(drawn, 1.0 / drawn), size=samples) / drawn

    def interval(self, values: PerShopper) -> dict[str, float]:
        """mean, low and high of a metric's values [shoppers]."""
        if not len(values):
            return {"mean": 0.0, "low": 0.0, "high": 0.0}
        means = self._weights @ values
        low, high = np.percentile(means, [2.5, 97.5])
        return {"mean": float(values.mean()), "low": float(low), "high": float(high)}

    def intervals(self, metrics: Mapping[str, PerShopper]) -> dict[str, dict[str, float]]:
        return {name: self.interval(values) for name, values in metrics.items()}
