"""Training batches: the world as of a moment, and the days after it as the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from towers.taste_shop import (
    DAY_US,
    PURCHASE,
    START_US,
    TYPE_WEIGHTS,
    TYPES,
    VIEW,
    TasteShop,
    as_interactions,
    taste_shop,
    user_history,
)
from vitrina.encoding import encode_history, pad
from vitrina.errors import TrainingError
from vitrina.lake.catalog import ALWAYS_THERE
from vitrina.lake.sequences import Interactions
from vitrina.towers.calibration import before
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.moments import (
    HORIZON_DAYS,
    MIN_EVENTS,
    SAMPLED_NEGATIVES,
    Batch,
    MomentSampler,
    newest_histories,
)

ITEMS = 60
MAX_HISTORY = 10
Event = tuple[int, int, float]
"""Row, type code, age in days: what a history holds of an event."""


def sampler(events: Interactions, **changes: Any) -> MomentSampler:
    return MomentSampler(
        events,
        ITEMS,
        TYPE_WEIGHTS,
        max_history=MAX_HISTORY,
        first_moment_us=START_US + 20 * DAY_US,
        **changes,
    )


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    """A shop in which some events are dismissals, which nobody should learn to repeat."""
    shop = taste_shop(items=ITEMS)
    shop.interactions.event_type[::9] = TYPES.index("dismiss")
    return shop


@dataclass(frozen=True)
class Sampled:
    """A batch, and the shopper behind each of its rows."""

    batch: Batch
    users: NDArray[np.int64]


def with_users(events: Interactions, batch: Batch) -> Sampled:
    """Tell the shoppers of a batch by the candidates that they had met before its moment."""
    past = before(events, batch.moment_us)
    users = []
    for place in range(len(batch.weights)):
        met = set(batch.candidates[batch.excluded[place]].tolist())
        fits = [
            user
            for user in range(len(events.user_ids))
            if set(past.row[past.user == user].tolist()) & set(batch.candidates.tolist()) == met
        ]
        assert len(fits) == 1, "what a shopper had met is theirs alone in this shop"
        users += fits
    return Sampled(batch, np.array(users))


@pytest.fixture(scope="module", params=[0.0, 0.3])
def sampled(request: pytest.FixtureRequest, shop: TasteShop) -> list[Sampled]:
    rng = np.random.default_rng(0)
    source = sampler(shop.interactions, history_dropout=request.param)
    batches = [source.sample(rng) for _ in range(12)]
    return [with_users(shop.interactions, batch) for batch in batches]


def events_before(events: Interactions, user: int, moment: int) -> list[Event]:
    """The newest MAX_HISTORY events of the shopper before the moment."""
    mine = (events.user == user) & (events.timestamp_us < moment)
    times = events.timestamp_us[mine]
    ages = (times[-1] - times) / DAY_US
    columns = (events.row[mine].tolist(), events.event_type[mine].tolist(), ages.tolist())
    return list(zip(*columns, strict=True))[-MAX_HISTORY:]


def test_histories_hold_only_what_was_before_the_moment(
    shop: TasteShop, sampled: list[Sampled]
) -> None:
    hidden = 0
    for one in sampled:
        histories = one.batch.histories
        for place, user in enumerate(one.users):
            real = histories.mask[place]
            length = int(real.sum())
            assert real.tolist() == [True] * length + [False] * (len(real) - length), "no gaps"
            allowed = events_before(shop.interactions, user, one.batch.moment_us)
            rows = histories.rows[place, real].tolist()
            kinds = histories.event_types[place, real].tolist()
            remaining = iter(allowed)
            for row, kind, age in zip(rows, kinds, histories.days[place, real], strict=True):
                assert any(
                    (row, kind) == known[:2] and age == pytest.approx(known[2], abs=1e-4)
                    for known in remaining
                ), "every event is one from before the moment, in its order"
            assert (rows[-1], kinds[-1]) == allowed[-1][:2], "the newest event is never hidden"
            assert not histories.rows[place, ~real].any()
            assert not histories.days[place, ~real].any()
            hidden += len(allowed) - length
    share = hidden / sum(one.batch.histories.mask.size for one in sampled)
    assert share == 0 or 0.1 < share < 0.35


def test_positives_are_new_to_the_shopper_and_lie_within_the_horizon(
    shop: TasteShop, sampled: list[Sampled]
) -> None:
    events = shop.interactions
    for one in sampled:
        moment, end = one.batch.moment_us, one.batch.moment_us + HORIZON_DAYS * DAY_US
        for place, user in enumerate(one.users):
            mine = events.user == user
            soon = mine & (events.timestamp_us >= moment) & (events.timestamp_us < end)
            wanted = set(events.row[soon & (TYPE_WEIGHTS[events.event_type] > 0)].tolist())
            met = set(events.row[mine & (events.timestamp_us < moment)].tolist())
            assert (mine & (events.timestamp_us < moment)).sum() >= MIN_EVENTS
            positives = set(one.batch.candidates[one.batch.positives[place]].tolist())
            assert positives
            assert positives <= wanted - met


def test_what_a_shopper_had_met_is_excluded_and_nothing_else(
    shop: TasteShop, sampled: list[Sampled]
) -> None:
    events = shop.interactions
    for one in sampled:
        candidates = one.batch.candidates
        assert len(np.unique(candidates)) == len(candidates)
        for place, user in enumerate(one.users):
            mine = (events.user == user) & (events.timestamp_us < one.batch.moment_us)
            met = np.isin(candidates, events.row[mine])
            assert one.batch.excluded[place].tolist() == met.tolist()
        assert not np.take_along_axis(one.batch.excluded, one.batch.positives, 1).any()


def test_shoppers_come_once_in_a_batch_with_weights_of_mean_one(sampled: list[Sampled]) -> None:
    for one in sampled:
        assert len(np.unique(one.users)) == len(one.users) > 1
        assert one.batch.weights.mean() == pytest.approx(1)
        assert (one.batch.weights > 0).all()


def test_a_batch_carries_popularity_as_of_its_moment(
    shop: TasteShop, sampled: list[Sampled]
) -> None:
    for one in sampled:
        past = before(shop.interactions, one.batch.moment_us)
        expected = PopularityFeatures(past, ITEMS).at(one.batch.moment_us)
        assert one.batch.popularity.tolist() == expected.tolist()


def test_a_new_item_that_nobody_has_met_is_no_negative(shop: TasteShop) -> None:
    """But it is one when it has been there for four weeks, and a positive at any time."""
    events = shop.interactions
    unmet, met = 3, 5
    events = events.where(events.row != unmet)
    created = np.full(ITEMS, ALWAYS_THERE)
    created[[unmet, met]] = START_US + 30 * DAY_US
    seen = {True: 0, False: 0}
    source, rng = sampler(events, created_us=created), np.random.default_rng(0)
    for _ in range(400):
        batch = source.sample(rng)
        new = batch.moment_us < START_US + 58 * DAY_US
        assert met in batch.candidates
        assert np.isfinite(batch.log_q).all()
        seen[new] += unmet in batch.candidates
    assert seen[True] == 0
    assert seen[False] > 0


def test_a_world_with_another_far_future_gives_the_same_histories(shop: TasteShop) -> None:
    """Everything after the horizon is changed; only how often a target is drawn may follow."""
    events = shop.interactions
    last = int(events.timestamp_us.max())
    rng = np.random.default_rng(1)
    source = sampler(events)
    for seed in range(40):
        batch = source.sample(np.random.default_rng(seed))
        later = events.timestamp_us >= batch.moment_us + HORIZON_DAYS * DAY_US
        later &= events.timestamp_us < last  # the last event bounds the moments
        if not later.any():
            continue
        row = np.where(later, rng.integers(ITEMS, size=len(later)), events.row)
        other = as_interactions(events.user, row, events.event_type, events.timestamp_us)
        again = sampler(other).sample(np.random.default_rng(seed))
        assert again.moment_us == batch.moment_us
        assert again.histories.rows.tolist() == batch.histories.rows.tolist()
        assert again.histories.event_types.tolist() == batch.histories.event_types.tolist()
        assert again.histories.days.tolist() == batch.histories.days.tolist()
        assert again.popularity.tolist() == batch.popularity.tolist()
        return
    pytest.fail("no moment was early enough")


def test_log_q_is_the_chance_that_an_item_is_among_the_candidates() -> None:
    """One moment, sampled again and again: items come as often as log_q says."""
    items, shoppers = 20_000, 40
    rng = np.random.default_rng(0)
    moment = START_US + 50 * DAY_US
    past = moment - rng.integers(1, 25 * DAY_US, size=shoppers * 60)
    future = moment + rng.integers(0, 10 * DAY_US, size=shoppers * 6)
    popular = np.arange(200)  # some items get most of the events
    row = np.concatenate(
        [rng.choice(popular, size=len(past)), rng.integers(5_000, 5_200, size=len(future))]
    )
    events = as_interactions(
        np.concatenate([np.repeat(np.arange(shoppers), 60), np.repeat(np.arange(shoppers), 6)]),
        row,
        np.where(rng.random(len(row)) < 0.3, PURCHASE, VIEW),
        np.concatenate([past, future]),
    )
    last = int(events.timestamp_us.max())
    only = MomentSampler(
        events,
        items,
        TYPE_WEIGHTS,
        max_history=5,
        first_moment_us=last - 3 * DAY_US - 1,
        users=8,
        positives=2,
    )
    times, said, rounds = np.zeros(items), np.zeros(items), 400
    for _ in range(rounds):
        batch = only.sample(rng)
        assert len(batch.candidates) <= SAMPLED_NEGATIVES + 16
        times[batch.candidates] += 1
        said[batch.candidates] = np.exp(batch.log_q)
    assert (said <= 1).all()
    targets = np.unique(row[len(past) :][future >= last - 3 * DAY_US - 1])
    cold = np.setdiff1d(np.arange(items), np.concatenate([popular, targets]))
    cold = cold[said[cold] > 0]
    for group, tolerance in ((popular, 0.02), (targets, 0.05), (cold, 0.02)):
        assert times[group].mean() / rounds == pytest.approx(said[group].mean(), rel=tolerance)


def test_training_sees_a_history_as_serving_will(shop: TasteShop) -> None:
    events, ids = shop.interactions, shop.catalog.item_ids
    row_of_item = {item_id: row for row, item_id in enumerate(ids)}
    code_of_type = {name: code for code, name in enumerate(TYPES)}
    users = np.arange(len(events.user_ids))
    for longest in (5, 100):
        trained = newest_histories(events, users, longest)
        served = pad(
            [
                encode_history(user_history(events, user, ids), row_of_item, code_of_type, longest)
                for user in users
            ]
        )
        for column in ("rows", "event_types", "days", "mask"):
            expected, found = getattr(served, column), getattr(trained, column)
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist()


def test_data_of_a_few_days_cannot_be_learnt_from() -> None:
    events = taste_shop(days=2).interactions
    with pytest.raises(TrainingError, match="too little time"):
        MomentSampler(events, ITEMS, TYPE_WEIGHTS, max_history=5, first_moment_us=START_US)


def test_shoppers_who_never_turn_to_anything_new_cannot_be_learnt_from() -> None:
    user = np.repeat(np.arange(4), 30)
    moments = START_US + np.tile(np.arange(30) * 3 * DAY_US, 4)
    events = as_interactions(user, user, np.full(len(user), PURCHASE), moments)
    with pytest.raises(TrainingError, match="two shoppers"):
        sampler(events).sample(np.random.default_rng(0))
