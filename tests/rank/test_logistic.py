"""Logistic regression against a general optimiser and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from vitrina.errors import TrainingError
from vitrina.rank.logistic import fit_logistic


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_fit_is_the_maximum_of_the_penalised_likelihood(
    seed: int, slopes: int, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((300, slopes)).astype(np.float32)
    odds = features @ rng.standard_normal(slopes) + rng.standard_normal()
    labels = rng.random(300) < 1 / (1 + np.exp(-odds))
    labels[:2] = [True, False]

    def loss(weights: NDArray[np.float64]) -> float:
        odds = weights[0] + features.astype(np.float64) @ weights[1:]
        likelihood = np.sum(np.logaddexp(0, odds) - labels * odds)
        return float(likelihood + ridge / 2 * weights[1:] @ weights[1:])

    best = minimize(loss, np.zeros(slopes + 1), method="BFGS", options={"gtol": 1e-8}).x
    assert fit_logistic(features, labels, ridge) == pytest.approx(best, abs=1e-4)


def test_of_two_groups_it_finds_their_log_odds() -> None:
    group = np.repeat([0.0, 1.0], 1000).astype(np.float32)
    labels = np.concatenate([np.arange(1000) < 100, np.arange(1000) < 400])
    bias, slope = fit_logistic(group[:, None], labels, ridge=1e-9)
    assert bias == pytest.approx(np.log(0.1 / 0.9), abs=1e-6)
    assert bias + slope == pytest.approx(np.log(0.4 / 0.6), abs=1e-6)


def test_classes_that_a_line_parts_have_finite_slopes() -> None:
    features = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    weights = fit_logistic(features, features[:, 0] > 0)
    assert np.isfinite(weights).all()
    assert 1 < weights[1] < 20


@pytest.mark.parametrize("labels", [[True] * 5, [False] * 5])
def test_one_outcome_teaches_nothing(labels: list[bool]) -> None:
    with pytest.raises(TrainingError, match="All 5 examples have the same outcome"):
        fit_logistic(np.ones((5, 1), np.float32), np.array(labels))
