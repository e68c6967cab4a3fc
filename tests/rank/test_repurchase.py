"""The repurchase model: its formula, and that it depends on the history alone."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.rank.repurchase import RepurchaseModel, repeat_rates
from vitrina.schema import RECENT_DAYS, Event
from vitrina.state.sqlite import SqliteState

DAY_US = 86_400_000_000
NOW_US = 1_700_000_000_000_000

ages_in_days = st.lists(st.floats(0, 1000), min_size=1, max_size=12)


def log_odds(
    model: RepurchaseModel, count: int, recent: float, last: int, newest: int, rate: float
) -> float:
    (found,) = model.log_odds(
        np.array([count]),
        np.array([recent], np.float32),
        np.array([last]),
        newest,
        np.array([rate], np.float32),
    )
    return float(found)


@given(ages_in_days, st.floats(0, 400), st.floats(0.01, 0.99))
def test_log_odds_follow_their_formula(ages: list[float], pause: float, rate: float) -> None:
    model = RepurchaseModel(bias=-2.0, count=0.5, recent=1.5, repeat=0.25)
    times = [NOW_US - int(age * DAY_US) for age in ages]
    newest = max(times) + int(pause * DAY_US)
    recent = sum(math.exp(-(max(times) - t) / DAY_US / RECENT_DAYS) for t in times)
    as_of_newest = sum(math.exp(-(newest - t) / DAY_US / RECENT_DAYS) for t in times)
    expected = -2.0 + 0.5 * math.log(len(times)) + 1.5 * math.log1p(as_of_newest)
    expected += 0.25 * math.log(rate)
    found = log_odds(model, len(times), recent, max(times), newest, rate)
    assert found == pytest.approx(expected, abs=1e-4)


@given(ages_in_days, st.randoms())
def test_the_recent_count_of_the_store_gives_the_same_odds_in_any_order_of_arrival(
    ages: list[float], random: Random
) -> None:
    times = sorted({NOW_US - int(age * DAY_US) for age in ages})
    arrived = list(times)
    random.shuffle(arrived)
    state = SqliteState(None)
    for number, moment in enumerate(arrived):
        state.append([Event(f"e{number}", "soup", "purchase", moment, user_id="ann")])
    bought = state.purchases("ann")
    expected = sum(math.exp(-(NOW_US - t) / DAY_US / RECENT_DAYS) for t in times)
    model = RepurchaseModel(bias=0.0, count=0.0, recent=1.0, repeat=0.0)
    found = log_odds(model, bought.counts[0], bought.recent[0], bought.last_us[0], NOW_US, 0.5)
    assert math.expm1(found) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert list(bought.counts) == [len(times)]


def test_more_purchases_later_ones_and_better_goods_are_more_likely() -> None:
    model = RepurchaseModel()
    base = log_odds(model, 3, 1.5, NOW_US - DAY_US, NOW_US, 0.2)
    assert log_odds(model, 6, 1.5, NOW_US - DAY_US, NOW_US, 0.2) > base
    assert log_odds(model, 3, 2.5, NOW_US - DAY_US, NOW_US, 0.2) > base
    assert log_odds(model, 3, 1.5, NOW_US - 90 * DAY_US, NOW_US, 0.2) < base
    assert log_odds(model, 3, 1.5, NOW_US - DAY_US, NOW_US, 0.4) > base


def test_the_same_pause_later_in_time_is_the_same_odds() -> None:
    model = RepurchaseModel()
    shift = 500 * DAY_US
    early = log_odds(model, 2, 1.3, NOW_US - 9 * DAY_US, NOW_US, 0.3)
    assert log_odds(model, 2, 1.3, NOW_US - 9 * DAY_US + shift, NOW_US + shift, 0.3) == early


@given(st.integers(0, 10_000), st.data())
def test_repeat_rates_are_rates(buyers: int, data: st.DataObject) -> None:
    again = data.draw(st.integers(0, buyers))
    (rate,) = repeat_rates(np.array([buyers]), np.array([again]))
    assert 0 < rate < 1
    assert rate == pytest.approx((again + 1) / (buyers + 8), rel=1e-6)


def test_a_model_survives_its_json() -> None:
    model = RepurchaseModel(bias=-1.25, count=0.5)
    assert RepurchaseModel.from_json(model.to_json()) == model
    assert RepurchaseModel.from_json({"bias": -1}) == RepurchaseModel(bias=-1.0)
