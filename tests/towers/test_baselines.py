"""What the towers have to beat does what its name says."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from towers.taste_shop import DAY_US, TasteShop, taste_shop
from vitrina.errors import TrainingError
from vitrina.towers.baselines import (
    EaseScores,
    ImplicitALS,
    ItemKNN,
    OwnFrequency,
    RecentPopularity,
)
from vitrina.towers.factors import RIDGE, ease, item_factors, met_matrix, signed

ITEMS = 60


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    return taste_shop(items=ITEMS)


def test_recent_popularity_counts_the_last_four_weeks(shop: TasteShop) -> None:
    events = shop.interactions
    recent = events.timestamp_us > events.timestamp_us.max() - 28 * DAY_US
    expected = [int((events.row[recent] == row).sum()) for row in range(ITEMS)]
    scores = RecentPopularity(events, ITEMS).scores(np.array([3, 5]))
    assert scores.tolist() == [expected, expected]


def test_own_frequency_counts_a_shoppers_events(shop: TasteShop) -> None:
    events = shop.interactions
    users = np.array([7, 0])
    expected = [
        [int(((events.user == user) & (events.row == row)).sum()) for row in range(ITEMS)]
        for user in users
    ]
    assert OwnFrequency(events, ITEMS).scores(users).tolist() == expected


def test_item_knn_adds_up_the_cosines_of_what_was_met(shop: TasteShop) -> None:
    met = met_matrix(shop.interactions, ITEMS).toarray()
    lengths = np.linalg.norm(met, axis=0)
    similarity = met.T @ met / np.outer(lengths, lengths)
    users = np.array([1, 4, 30])
    found = ItemKNN(shop.interactions, ITEMS).scores(users)
    assert found == pytest.approx(met[users] @ similarity, abs=1e-4)


def test_ials_prefers_the_shoppers_own_taste(shop: TasteShop) -> None:
    users = np.arange(len(shop.taste_of_user))
    scores = ImplicitALS(shop.interactions, ITEMS).scores(users)
    unmet = met_matrix(shop.interactions, ITEMS).toarray() == 0
    own = shop.taste_of_user[:, None] == shop.taste_of_item
    assert scores[own & unmet].mean() > 3 * abs(scores[~own & unmet].mean())


@pytest.mark.parametrize("ridge", [RIDGE, 5.0])
def test_ease_is_the_ridge_regression_of_each_item_on_the_others(
    shop: TasteShop, ridge: float
) -> None:
    met = met_matrix(shop.interactions, ITEMS).toarray().astype(np.float64)
    expected = np.empty_like(met)
    for item in range(ITEMS):
        others = np.delete(met, item, axis=1)
        gram = others.T @ others + ridge * np.eye(ITEMS - 1)
        expected[:, item] = others @ np.linalg.solve(gram, others.T @ met[:, item])
    users = np.array([2, 17, 39])
    found = EaseScores(shop.interactions, ITEMS + 1, ridge=ridge).scores(users)
    assert found[:, :ITEMS] == pytest.approx(expected[users], abs=1e-5)
    assert not found[:, ITEMS].any()  # an item without events


def test_ease_without_a_ridge_says_what_to_do(shop: TasteShop) -> None:
    few = shop.interactions.where(shop.interactions.user < ITEMS // 2)
    with pytest.raises(TrainingError, match="larger ridge"):
        EaseScores(few, ITEMS, ridge=0.0)


def test_ease_takes_little_more_memory_than_its_weights() -> None:
    matrix = sp.csr_matrix(np.random.default_rng(0).random((300, 2000)) < 0.5, dtype=np.float32)
    tracemalloc.start()
    model = ease(matrix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.weights.nbytes == 4 * 2000**2
    assert peak < 2 * model.weights.nbytes  # three times as much, were the product made at once


def test_ease_scores_nothing_beyond_its_head(shop: TasteShop) -> None:
    scores = EaseScores(shop.interactions, ITEMS, head_items=10).scores(np.arange(40))
    met = met_matrix(shop.interactions, ITEMS).toarray().sum(axis=0)
    assert np.sort(met[scores.any(axis=0)]).tolist() == np.sort(met)[-10:].tolist()


def test_factors_of_items_of_one_taste_point_the_same_way(shop: TasteShop) -> None:
    factors = item_factors(shop.interactions, ITEMS, 8)
    directions = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosine = directions @ directions.T
    same = shop.taste_of_item[:, None] == shop.taste_of_item
    np.fill_diagonal(same, val=False)
    different = shop.taste_of_item[:, None] != shop.taste_of_item
    assert cosine[same].mean() > cosine[different].mean() + 0.5


def test_items_beyond_the_head_are_placed_among_their_like(shop: TasteShop) -> None:
    factors = item_factors(shop.interactions, ITEMS, 8, head_items=40)
    met = np.bincount(shop.interactions.row, minlength=ITEMS)
    lengths = np.linalg.norm(factors, axis=1)
    assert (lengths[met > 0] > 0).all()
    directions = factors / lengths[:, None]
    tail = np.argsort(lengths)[:10]
    nearest = np.argsort(-(directions[tail] @ directions.T), axis=1)[:, 1:6]
    agree = shop.taste_of_item[nearest] == shop.taste_of_item[tail][:, None]
    assert agree.mean() > 0.6  # one in four by chance


def test_factors_are_the_same_each_time_and_zero_where_nothing_is_known(shop: TasteShop) -> None:
    events = shop.interactions
    factors = item_factors(events, ITEMS + 2, 8)
    assert factors.shape == (ITEMS + 2, 8)
    assert not factors[ITEMS:].any()
    assert 0.5 < np.linalg.norm(factors, axis=1).max() < 2
    assert factors.tolist() == item_factors(events, ITEMS + 2, 8).tolist()


def test_a_shop_with_one_item_sold_has_no_factors(shop: TasteShop) -> None:
    only = replace(shop.interactions, row=np.zeros_like(shop.interactions.row))
    assert not item_factors(only, 3, 8).any()


@given(signs=arrays(np.float32, 5, elements=st.sampled_from([-1.0, 1.0])), seed=st.integers(0, 100))
def test_factors_do_not_depend_on_the_signs_that_a_decomposition_chose(
    signs: NDArray[np.float32], seed: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(30, 5)).astype(np.float32)
    np.testing.assert_array_equal(signed(vectors * signs), signed(vectors))
    np.testing.assert_array_equal(np.abs(signed(vectors)), np.abs(vectors))
