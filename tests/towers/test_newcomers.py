"""Of whom nothing is known, the shop is asked for what is bought, and not for what lies between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from towers.taste_shop import DAY_US, PURCHASE, START_US, as_interactions
from vitrina.lake.sequences import Interactions
from vitrina.space import normalise
from vitrina.towers.newcomers import SCALES, most_likely, newcomer_vector

USERS, EACH = 50, 200
END_US = START_US + 10 * DAY_US


def told(vectors: np.ndarray, counts: np.ndarray, scale: float, query: np.ndarray) -> float:
    """The mean log-likelihood of what was counted."""
    return float(counts @ log_softmax(scale * (vectors @ query)) / counts.sum())


@given(
    st.integers(0, 10_000),
    arrays(np.float32, 12, elements=st.integers(0, 5).map(float)).filter(lambda n: n.any()),
    st.sampled_from(SCALES),
)
def test_no_other_vector_near_or_far_tells_better_what_was_counted(
    seed: int, counts: np.ndarray, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = normalise(rng.normal(size=(12, 4)))
    found = most_likely(vectors, counts, scale)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    best = told(vectors, counts, scale, found)
    others = [vectors.T @ counts, *(found + 0.05 * rng.normal(size=(20, 4)))]
    for other in map(normalise, others):
        assert told(vectors, counts, scale, other) <= best + 1e-4


def between_tastes() -> tuple[np.ndarray, Interactions]:
    """Two tastes far apart, the first with twice the shoppers, and as many items in the middle
    of the two that nobody takes."""
    rng = np.random.default_rng(0)
    centres = np.array([[1, 0, 0.4], [0, 1, 0.4], [0.8, 0.8, 0.4]])
    vectors = normalise(np.repeat(centres, EACH, axis=0) + 0.1 * rng.normal(size=(3 * EACH, 3)))
    user = np.repeat(np.arange(USERS), 8)
    row = rng.integers(EACH, size=len(user)) + EACH * (user % 3 == 0)
    moment = START_US + rng.integers(9 * DAY_US, size=len(user))
    events = as_interactions(user, row, np.full(len(user), PURCHASE), moment, users=USERS)
    return vectors.astype(np.float32), events


def test_newcomers_are_shown_what_is_bought_and_not_what_lies_between_tastes() -> None:
    vectors, events = between_tastes()
    mean = normalise(vectors[events.row].mean(0))
    assert (nearest(vectors, mean) >= 2 * EACH).mean() > 0.5
    newcomer = newcomer_vector(events, vectors, END_US)
    assert (nearest(vectors, newcomer) < 2 * EACH).mean() > 0.95


def test_what_comes_after_the_moment_changes_nothing() -> None:
    vectors, events = between_tastes()
    moment = START_US + 5 * DAY_US
    past = events.where(events.timestamp_us < moment)
    np.testing.assert_array_equal(
        newcomer_vector(events, vectors, moment), newcomer_vector(past, vectors, moment)
    )


def test_a_shop_with_one_shopper_in_each_part_has_a_vector() -> None:
    vectors, events = between_tastes()
    two = events.where(events.user < 2)
    assert np.linalg.norm(newcomer_vector(two, vectors, END_US)) == pytest.approx(1, abs=1e-5)


def nearest(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.argsort(-(vectors @ query))[:EACH]
