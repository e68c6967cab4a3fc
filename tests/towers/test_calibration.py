"""The ranker's scales are fitted on what serving will see, as of a moment in the past."""

from __future__ import annotations

import numpy as np
import pytest

from towers.taste_shop import (
    DAY_US,
    PURCHASE,
    START_US,
    TYPES,
    TasteShop,
    as_interactions,
    taste_shop,
)
from vitrina.lake.sequences import Interactions
from vitrina.rank.logistic import fit_logistic
from vitrina.rank.ranker import DiscoveryModel
from vitrina.rank.repurchase import RepurchaseModel, repeat_rates, repurchase_features
from vitrina.space import normalise
from vitrina.state.sqlite import SqliteState
from vitrina.towers.calibration import before, fit_discovery, fit_repurchase, item_repeat_rates

ITEMS = 24


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    """Few items, so that many are bought again."""
    return taste_shop(users=30, items=ITEMS, events=60, days=120)


def bought_by(events: Interactions, user: int, row: int) -> list[int]:
    mine = (events.user == user) & (events.row == row) & (events.event_type == PURCHASE)
    return sorted(events.timestamp_us[mine].tolist())


def test_before_keeps_the_past_and_everyones_number(shop: TasteShop) -> None:
    moment = int(np.median(shop.interactions.timestamp_us))
    past = before(shop.interactions, moment)
    assert past.timestamp_us.max() < moment
    assert len(past) == (shop.interactions.timestamp_us < moment).sum()
    assert past.user_ids == shop.interactions.user_ids


def test_a_repeat_rate_is_the_share_of_buyers_who_came_back(shop: TasteShop) -> None:
    events = shop.interactions
    buyers, again = np.zeros((2, ITEMS), np.int64)
    for user in range(len(events.user_ids)):
        for row in range(ITEMS):
            times = bought_by(events, user, row)
            buyers[row] += len(times) > 0
            again[row] += len(times) > 1
    expected = repeat_rates(buyers, again).tolist()
    assert item_repeat_rates(events, ITEMS, PURCHASE).tolist() == expected


def test_the_repurchase_model_is_fitted_on_what_the_store_says(shop: TasteShop) -> None:
    events = shop.interactions
    moment = int(events.timestamp_us.max()) + 1 - 14 * DAY_US
    past = before(events, moment)
    state = SqliteState(None)
    state.load_histories(
        [past.user_ids[user] for user in past.user],
        [f"{row}" for row in past.row],
        [TYPES[code] for code in past.event_type],
        past.timestamp_us.tolist(),
    )
    rates = item_repeat_rates(past, ITEMS, PURCHASE)
    features, labels = [], []
    for user, key in enumerate(past.user_ids):
        bought = state.purchases(key)
        rows = np.array([int(item_id) for item_id in bought.item_ids], np.int64)
        features.append(
            repurchase_features(
                np.array(bought.counts),
                np.array(bought.recent, np.float32),
                np.array(bought.last_us),
                state.recent(key, 1).timestamps_us[-1],
                rates[rows],
            )
        )
        labels += [any(t >= moment for t in bought_by(events, user, row)) for row in rows]
    expected = fit_logistic(np.concatenate(features), np.array(labels))
    found = fit_repurchase(events, ITEMS, PURCHASE)
    assert [found.bias, found.count, found.recent, found.repeat] == pytest.approx(
        list(expected), abs=1e-3
    )


def test_the_discovery_model_is_fitted_on_items_not_met_before_the_moment(
    shop: TasteShop,
) -> None:
    events = shop.interactions
    rng = np.random.default_rng(0)
    moment = START_US + 90 * DAY_US
    vectors = normalise(rng.standard_normal((ITEMS, 8)))
    users = np.arange(0, 30, 2)
    user_vectors = normalise(rng.standard_normal((len(users), 8)))
    scores, labels = [], []
    for user, vector in zip(users, user_vectors, strict=True):
        mine = events.user == user
        met = set(events.row[mine & (events.timestamp_us < moment)].tolist())
        later = set(events.row[mine & (events.timestamp_us >= moment)].tolist())
        for row in set(range(ITEMS)) - met:
            scores.append(float(vectors[row] @ vector))
            labels.append(row in later)
    bias, slope = fit_logistic(np.array(scores, np.float32)[:, None], np.array(labels))
    sign = np.float32(np.sign(slope))  # of a shopper's likes or dislikes: chance decides here
    found = fit_discovery(events, users, sign * user_vectors, vectors, moment)
    assert found.bias == pytest.approx(bias, abs=1e-3)
    assert found.score == pytest.approx(abs(slope), abs=1e-3)
    assert found.penalty == DiscoveryModel().penalty
    upside_down = fit_discovery(events, users, -sign * user_vectors, vectors, moment)
    assert upside_down == DiscoveryModel(), "no model may turn the order of retrieval round"


def test_a_shop_whose_goods_are_bought_once_keeps_the_defaults() -> None:
    user = np.repeat(np.arange(5), 10)
    events = as_interactions(
        user,
        np.tile(np.arange(10), 5),
        np.full(50, PURCHASE),
        START_US + np.tile(np.arange(10) * 5 * DAY_US, 5),
    )
    assert fit_repurchase(events, 10, PURCHASE) == RepurchaseModel()
    views_only = len(TYPES)  # a code that no event has
    assert fit_repurchase(events, 10, views_only) == RepurchaseModel()


def test_without_shoppers_discovery_keeps_the_defaults(shop: TasteShop) -> None:
    none = np.zeros(0, np.int64)
    vectors = np.eye(ITEMS, dtype=np.float32)
    found = fit_discovery(
        shop.interactions, none, np.zeros((0, ITEMS), np.float32), vectors, START_US
    )
    assert found == DiscoveryModel()
