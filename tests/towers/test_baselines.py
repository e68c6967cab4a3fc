"""What the towers have to beat does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from towers.taste_shop import DAY_US, TasteShop, taste_shop
from vitrina.towers.baselines import ImplicitALS, ItemKNN, OwnFrequency, RecentPopularity
from vitrina.towers.factors import item_factors, met_matrix

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


def test_factors_are_the_same_each_time_and_zero_where_nothing_is_known(shop: TasteShop) -> None:
    events = shop.interactions
    factors = item_factors(events, ITEMS + 2, 8, seed=3)
    assert factors.shape == (ITEMS + 2, 8)
    assert not factors[ITEMS:].any()
    assert 0.5 < np.linalg.norm(factors, axis=1).max() < 2
    assert factors.tolist() == item_factors(events, ITEMS + 2, 8, seed=3).tolist()
