"""What a shopper is asked with of whom nothing is known: one vector for all newcomers.

The mean of the shoppers' vectors lies between tastes, where there need not be much. Asked for
instead is the vector whose softmax over the catalog tells best what is bought lately,

    argmax over unit u of Σ_i p_i · log softmax(s · V u)_i,

a query tower's bias term with nothing else to go by. p: recency-weighted popularity; V: the item
vectors, which have new items near their like. The scale s says how much of the list should be
what is bought most (large), or how broad it should be (small); held-out shoppers decide.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from vitrina.lake.sequences import Interactions, popularity
from vitrina.space import FloatMatrix, normalise
from vitrina.towers.calibration import POPULARITY_HALF_LIFE_DAYS

SCALES: Final = (3.0, 6.0, 12.0)
"""Candidates for s, 1 / temperature; the smallest first."""
FOLDS: Final = 5
"""A fifth of the shoppers judges the scales."""
NEAREST: Final = 100
NEAR_BEST: Final = 0.95
"""Of the best scale's share."""


def newcomer_vector(
    interactions: Interactions, vectors: NDArray[np.float32], moment_us: int
) -> FloatMatrix:
    """The unit vector [dim] of a shopper without history, as of a moment.

    vectors float32 [items, dim]: the catalog's. Of each scale, the vector learnt from four fifths
    of the shoppers is judged by the share that its NEAREST nearest items have of what the others
    turned to. The smallest that comes near the best then learns from all: the broader the list, the
    more of it are items that are too new to have been turned to.
    """
    judging = interactions.user % FOLDS == 0

    def bought(which: NDArray[np.bool_]) -> NDArray[np.float32]:
        events = interactions.where(which)
        return popularity(events, len(vectors), moment_us, POPULARITY_HALF_LIFE_DAYS)

    learnt, judge = bought(~judging), bought(judging)
    found = [_covered(most_likely(vectors, learnt, scale), vectors, judge) for scale in SCALES]
    enough = np.flatnonzero(np.array(found) >= NEAR_BEST * max(found))[0]
    return most_likely(vectors, learnt + judge, SCALES[enough])


def most_likely(
    vectors: NDArray[np.float32], counts: NDArray[np.float32], scale: float
) -> FloatMatrix:
    """The unit vector [dim] that tells best which items were counted, counts float32 [items].

    By L-BFGS from their mean, which is where to go at a scale near 0.
    """
    shares = counts / max(float(counts.sum()), 1e-12)
    mean = vectors.T @ shares

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        length = max(float(np.linalg.norm(free)), 1e-12)
        unit = free / length
        told = log_softmax(vectors @ (scale * unit).astype(np.float32))
        slope = scale * (vectors.T @ np.exp(told) - mean)
        return -float(shares @ told), (slope - unit * (unit @ slope)) / length

    best = minimize(loss, normalise(mean).astype(np.float64), jac=True, method="L-BFGS-B")
    return normalise(best.x)


def _covered(
    query: FloatMatrix, vectors: NDArray[np.float32], counts: NDArray[np.float32]
) -> float:
    """The share of what was counted that the nearest items have."""
    nearest = np.argsort(-(vectors @ query), kind="stable")[:NEAREST]
    return float(counts[nearest].sum())
