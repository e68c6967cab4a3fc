"""The global-time split on a real lake: nothing at or after the cut reaches training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from towers.taste_shop import (
    DAY_US,
    START_US,
    TYPE_WEIGHTS,
    TYPES,
    TasteShop,
    as_interactions,
    ingested,
    taste_shop,
)
from vitrina.errors import DataError
from vitrina.evaluation.protocols import GlobalTimeSplit, global_time
from vitrina.lake.sequences import Interactions
from vitrina.lake.split import to_datetime
from vitrina.settings import EvaluateSettings, Settings, TrainSettings

CUT_US = START_US + 70 * DAY_US
ITEMS = 40


def at_cut(settings: Settings, test_days: int = 14) -> Settings:
    evaluate = EvaluateSettings(cut=to_datetime(CUT_US), test_days=test_days)
    return settings.model_copy(update={"evaluate": evaluate})


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    shop = taste_shop(users=25, items=ITEMS, events=20)
    shop.interactions.event_type[::8] = TYPES.index("dismiss")
    on_the_cut = int(np.flatnonzero(shop.interactions.timestamp_us > CUT_US)[0])
    moments = shop.interactions.timestamp_us.copy()
    moments[on_the_cut] = CUT_US
    moved = replace(shop.interactions, timestamp_us=moments)
    return replace(shop, interactions=resorted(moved))


def resorted(events: Interactions) -> Interactions:
    return as_interactions(events.user, events.row, events.event_type, events.timestamp_us)


@pytest.fixture(scope="module")
def split(shop: TasteShop, tmp_path_factory: pytest.TempPathFactory) -> GlobalTimeSplit:
    folder = tmp_path_factory.mktemp("lake")
    return global_time(at_cut(ingested(folder, shop, TrainSettings())))


def test_training_ends_before_the_cut_and_misses_nothing(
    shop: TasteShop, split: GlobalTimeSplit
) -> None:
    events, trained = shop.interactions, split.data.interactions
    past = events.timestamp_us < CUT_US
    assert CUT_US in events.timestamp_us
    assert trained.timestamp_us.max() < CUT_US
    for column in ("user", "row", "event_type", "timestamp_us"):
        assert getattr(trained, column).tolist() == getattr(events, column)[past].tolist()


def test_targets_are_what_shoppers_turned_to_in_the_test_days(
    shop: TasteShop, split: GlobalTimeSplit
) -> None:
    events = shop.interactions
    test = (events.timestamp_us >= CUT_US) & (events.timestamp_us < CUT_US + 14 * DAY_US)
    counts = TYPE_WEIGHTS[events.event_type] > 0
    judged = set()
    for user in range(len(events.user_ids)):
        mine = events.user == user
        met = set(events.row[mine & (events.timestamp_us < CUT_US)].tolist())
        wanted = set(events.row[mine & test & counts].tolist())
        if not wanted or not met:
            continue
        judged.add(user)
        (place,) = np.flatnonzero(split.users == user)
        assert set(split.targets[place].indices.tolist()) == wanted
        assert set(split.met[place].indices.tolist()) == met
        assert set(split.new[place].indices.tolist()) == wanted - met
    assert set(split.users.tolist()) == judged
    assert set(split.targets.data.tolist()) == {1.0}
    assert set(split.new.data.tolist()) == {1.0}
    assert split.new.nnz < split.targets.nnz, "some targets had been met before"


def test_another_future_changes_nothing_that_is_trained_on(
    shop: TasteShop, split: GlobalTimeSplit, tmp_path: Path
) -> None:
    events = shop.interactions
    row = np.where(events.timestamp_us >= CUT_US, (events.row + 1) % ITEMS, events.row)
    other = replace(shop, interactions=resorted(replace(events, row=row)))
    again = global_time(at_cut(ingested(tmp_path, other, TrainSettings())))
    for column in ("user", "row", "event_type", "timestamp_us", "session"):
        trained = getattr(split.data.interactions, column).tolist()
        assert getattr(again.data.interactions, column).tolist() == trained
    assert (again.met != split.met).nnz == 0
    assert (again.targets != split.targets).nnz > 0


def test_a_cut_that_leaves_nobody_on_both_sides_is_refused(shop: TasteShop, tmp_path: Path) -> None:
    events = shop.interactions
    only_early = events.user < 10
    keep = np.where(only_early, events.timestamp_us < CUT_US, events.timestamp_us >= CUT_US)
    parted = as_interactions(
        events.user[keep], events.row[keep], events.event_type[keep], events.timestamp_us[keep]
    )
    settings = at_cut(ingested(tmp_path, replace(shop, interactions=parted), TrainSettings()))
    with pytest.raises(DataError, match="Nobody has events both before and after the cut"):
        global_time(settings)
