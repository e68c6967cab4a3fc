"""Held-out shoppers while training: judged honestly, and the best weights are what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from towers.taste_shop import DAY_US, TYPE_WEIGHTS, TYPES, TasteShop, taste_shop
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.calibration import before
from vitrina.towers.checkpoint import TrainingState, trainable
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY, newest_histories
from vitrina.towers.objectives import tower_inputs
from vitrina.towers.training import TrainProgress, TwoTowers, Validation, build, fit
from vitrina.towers.validation import HeldOut, hold_out

OBJECTIVES = ("discoveries", "next_item")
ITEMS = 120


def settings_for(objective: str, **values: float) -> TrainSettings:
    common = {"dim": 8, "max_history": 10, "steps": 8, "checkpoint_minutes": 1e-9}
    return TrainSettings.model_validate(
        common | {"objective": objective, "validation_every": 3, "encoder": "mlp"} | values
    )


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    return taste_shop(users=1000, items=ITEMS, events=12, days=60)


def held_of(shop: TasteShop, settings: TrainSettings) -> HeldOut:
    held = hold_out(shop.interactions, ITEMS, TYPE_WEIGHTS, settings)
    assert held is not None
    return held


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_sample_is_asked_what_its_shoppers_turned_to_next(
    shop: TasteShop, objective: str
) -> None:
    held, events = held_of(shop, settings_for(objective)), shop.interactions
    moment = int(events.timestamp_us.max()) + 1 - HORIZON_DAYS * US_PER_DAY
    assert 100 <= len(held.users) <= 0.25 * len(events.user_ids)
    left = 0
    for place, user in enumerate(held.users):
        times, rows = events.timestamp_us[events.user == user], events.row[events.user == user]
        later = times >= (moment if objective == "discoveries" else times.max())
        met = set(rows[~later].tolist())
        assert (~later).sum() >= 2
        assert set(held.targets[place].indices) == set(rows[later].tolist()) - met
        assert set(held.met[place].indices) == met
        assert (held.train.user == user).sum() == (held.past.user == user).sum() == (~later).sum()
        left += later.sum()
    assert 0.95 * (len(events) - left) <= len(held.train) <= len(events) - left
    again = held_of(shop, settings_for(objective))
    assert again.users.tolist() == held.users.tolist()
    other = held_of(shop, settings_for(objective, seed=1))
    assert other.users.tolist() == held.users.tolist(), "runs of several seeds compare"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_day_later_nobody_is_asked_for_what_has_been_learnt(objective: str) -> None:
    shop = taste_shop(users=1000, items=ITEMS, events=12, days=60)
    settings, events = settings_for(objective), shop.interactions
    yesterday = events.where(events.timestamp_us < events.timestamp_us.max() - 3 * DAY_US)
    held, now = (hold_out(days, ITEMS, TYPE_WEIGHTS, settings) for days in (yesterday, events))
    assert held is not None
    assert now is not None

    def keys(kept: Interactions) -> set[tuple[int, ...]]:
        return set(zip(kept.user, kept.row, kept.timestamp_us.tolist(), strict=True))

    asked = keys(events) - keys(now.train)
    assert asked & keys(yesterday), "some have done nothing since"
    assert not asked & keys(held.train)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_figure_is_that_of_ranking_every_item_one_by_one(
    shop: TasteShop, objective: str
) -> None:
    settings = settings_for(objective)
    held = held_of(shop, settings)
    towers = build(held.train, shop.catalog, settings, len(TYPES)).eval()
    popularity = None
    if objective == "discoveries":
        moment = int(shop.interactions.timestamp_us.max()) + 1 - HORIZON_DAYS * US_PER_DAY
        popularity = PopularityFeatures(before(shop.interactions, moment), ITEMS).at(moment)
    vectors = towers.item.embed_catalog(popularity)
    shares = []
    for place, user in enumerate(held.users):
        batch = newest_histories(held.past, np.array([user]), settings.max_history)
        with torch.no_grad():
            vector = towers.user(torch.from_numpy(vectors[batch.rows]), *tower_inputs(batch))
        met, wanted = held.met[place].indices, set(held.targets[place].indices)
        order = np.argsort(-(vectors @ vector.numpy()[0]), kind="stable")
        shown = [row for row in order if row not in met][: held.depth]
        shares.append(len(wanted & set(shown)) / len(wanted))
    assert held.measure(towers) == pytest.approx(np.mean(shares), abs=1e-9)


def test_no_validation_where_it_says_nothing_or_is_not_asked_for(shop: TasteShop) -> None:
    few = taste_shop(users=90, items=ITEMS).interactions
    assert hold_out(few, ITEMS, TYPE_WEIGHTS, settings_for("next_item")) is None
    events = shop.interactions
    off = settings_for("next_item", validation_every=0)
    assert hold_out(events, ITEMS, TYPE_WEIGHTS, off) is None
    assert hold_out(events, ITEMS, TYPE_WEIGHTS, TrainSettings()) is None
    by_default = hold_out(events, ITEMS, TYPE_WEIGHTS, TrainSettings(objective="next_item"))
    assert by_default is not None
    assert by_default.validation(TrainSettings(objective="next_item")).every == 100


class Stopped(Exception):
    """A run that is broken off."""


def fitted(
    folder: Path, shop: TasteShop, settings: TrainSettings, *, stop_at: int | None = None
) -> tuple[TrainingState, TwoTowers]:
    held = held_of(shop, settings)
    towers = build(held.train, shop.catalog, settings, len(TYPES))

    def watch(progress: TrainProgress) -> None:
        assert progress.metric is not None
        if progress.step == stop_at:
            raise Stopped

    validation = held.validation(settings)
    state = fit(towers, held.train, TYPE_WEIGHTS, settings, folder, "same", watch, validation)
    return state, towers


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_curves_and_best_weights_survive_an_interruption(
    tmp_path: Path, shop: TasteShop, objective: str
) -> None:
    settings = settings_for(objective)
    whole, towers = fitted(tmp_path / "whole", shop, settings)
    assert [step for step, _ in whole.curve] == [0, 3, 6, 8]
    assert [step for step, _ in whole.losses] == list(range(1, 9))
    best = max(value for _, value in whole.curve)
    assert dict(whole.curve)[whole.kept_step] == best
    assert held_of(shop, settings).measure(towers) == best, "what is left is what was best"
    with pytest.raises(Stopped):
        fitted(tmp_path / "broken", shop, settings, stop_at=5)
    resumed, again = fitted(tmp_path / "broken", shop, settings)
    assert resumed.curve == whole.curve
    assert resumed.losses == whole.losses
    weights, others = trainable(towers), trainable(again)
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


def test_training_ends_when_nothing_has_got_better_for_long_enough(
    tmp_path: Path, shop: TasteShop
) -> None:
    settings = settings_for("next_item", steps=40)
    towers = build(shop.interactions, shop.catalog, settings, len(TYPES))
    figures = iter([0.1, 0.2, 0.4, 0.3, 0.4, 0.39, 0.9])
    weights: list[torch.Tensor] = []

    def measure(towers: TwoTowers) -> float:
        assert not towers.training
        weights.append(towers.item.id_table.detach().clone())
        return next(figures)

    state = fit(
        towers,
        shop.interactions,
        TYPE_WEIGHTS,
        settings,
        tmp_path,
        "same",
        validation=Validation(measure, every=2, patience=3),
    )
    assert (state.step, state.kept_step) == (10, 4)
    assert torch.equal(towers.item.id_table, weights[2])
