"""Logistic regression, the few lines of it that calibrating a source's scores takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitrina.errors import TrainingError


def fit_logistic(
    features: NDArray[np.float32], labels: NDArray[np.bool_], ridge: float = 1.0
) -> NDArray[np.float64]:
    """Maximum-likelihood coefficients by iteratively re-weighted least squares.

    features float32 [n, m]; labels bool [n]; ridge: weight of the squared norm of the slopes
    (the bias is free). Returns [bias, slope …] float64 [m + 1].
    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., 4.4.1.
    Raises TrainingError when the labels are all alike.
    """
    if labels.all() or not labels.any():
        raise TrainingError(
            f"All {len(labels)} examples have the same outcome, so there is nothing to learn."
        )
    design = np.column_stack([np.ones(len(features)), features.astype(np.float64)])
    penalty = np.diag([0.0] + [ridge] * features.shape[1])
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(labels.mean() / (1 - labels.mean()))
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-design @ weights))
        gradient = design.T @ (p - labels) + penalty @ weights
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return weights
