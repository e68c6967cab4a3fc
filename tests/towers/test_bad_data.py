"""Data that teaches little or nothing: it trains, or says plainly why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from towers.taste_shop import (
    DAY_US,
    PURCHASE,
    START_US,
    TYPE_WEIGHTS,
    TYPES,
    TasteShop,
    as_interactions,
    taste_shop,
)
from vitrina.errors import TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.checkpoint import trainable
from vitrina.towers.memory import GIB, available_bytes, require_memory
from vitrina.towers.training import TrainProgress, build, fit

pytestmark = pytest.mark.parametrize("objective", ["discoveries", "next_item"])

SETTINGS = TrainSettings(dim=8, max_history=10, steps=4, checkpoint_minutes=1e-9)
TEN_MILLION = 10_000_000


def settings_for(objective: str, **values: float) -> TrainSettings:
    return TrainSettings.model_validate(SETTINGS.model_dump() | {"objective": objective} | values)


def first_items(catalog: CatalogTable, count: int) -> CatalogTable:
    names = CatalogTable.__dataclass_fields__
    return CatalogTable(**{name: getattr(catalog, name)[:count] for name in names})


def trains(
    shop: TasteShop, settings: TrainSettings, folder: Path, items: int | None = None
) -> None:
    """Train for a few steps; weights and vectors must come out as numbers."""
    catalog = shop.catalog if items is None else first_items(shop.catalog, items)
    towers = build(shop.interactions, catalog, settings, len(TYPES))
    fit(towers, shop.interactions, TYPE_WEIGHTS, settings, folder, "")
    assert all(bool(value.isfinite().all()) for value in trainable(towers).values())


def columns(events: Interactions) -> tuple[np.ndarray, ...]:
    return events.user, events.row, events.event_type, events.timestamp_us


def test_one_item_is_nothing_to_compare(objective: str) -> None:
    shop = taste_shop()
    user, row, kind, moment = columns(shop.interactions)
    events = as_interactions(user, np.zeros_like(row), kind, moment)
    with pytest.raises(TrainingError, match=r"There are 1 items and 40 shoppers.*ingest more"):
        build(events, first_items(shop.catalog, 1), settings_for(objective), len(TYPES))


def test_one_shopper_is_nobody_to_compare_with(objective: str) -> None:
    shop = taste_shop()
    user, row, kind, moment = columns(shop.interactions)
    events = as_interactions(np.zeros_like(user), row, kind, moment)
    with pytest.raises(TrainingError, match="60 items and 1 shoppers"):
        build(events, shop.catalog, settings_for(objective), len(TYPES))


def test_two_items_and_two_shoppers_are_enough_or_it_says_why(
    tmp_path: Path, objective: str
) -> None:
    shop = taste_shop(users=2)
    user, row, kind, moment = columns(shop.interactions)
    shop = replace(shop, interactions=as_interactions(user, row % 2, kind, moment))
    if objective == "next_item":
        trains(shop, settings_for(objective), tmp_path, items=2)
    else:
        with pytest.raises(TrainingError, match=r"two shoppers had a history.*Ingest more"):
            trains(shop, settings_for(objective), tmp_path, items=2)


def test_shoppers_who_are_all_alike(tmp_path: Path, objective: str) -> None:
    """Everybody does the very same at the very same moments."""
    shop = taste_shop()
    users, length = 40, 24
    events = as_interactions(
        np.repeat(np.arange(users), length),
        np.tile(np.arange(length) * 2, users),
        np.full(users * length, PURCHASE),
        np.tile(START_US + np.arange(length) * 4 * DAY_US, users),
    )
    trains(replace(shop, interactions=events), settings_for(objective), tmp_path)


def test_a_single_event_type(tmp_path: Path, objective: str) -> None:
    shop = taste_shop()
    user, row, kind, moment = columns(shop.interactions)
    alike = as_interactions(user, row, np.zeros_like(kind), moment)
    weights = np.ones(1, np.float32)
    settings = settings_for(objective)
    towers = build(alike, shop.catalog, settings, 1)
    fit(towers, alike, weights, settings, tmp_path, "")
    assert all(bool(value.isfinite().all()) for value in trainable(towers).values())


def test_event_types_that_all_weigh_nothing(tmp_path: Path, objective: str) -> None:
    shop, settings = taste_shop(), settings_for(objective)
    towers = build(shop.interactions, shop.catalog, settings, len(TYPES))
    problem = "no next one to learn" if objective == "next_item" else "No moment was found"
    with pytest.raises(TrainingError, match=problem):
        fit(towers, shop.interactions, 0 * TYPE_WEIGHTS, settings, tmp_path, "")


def test_ten_million_ids_that_do_not_fit_are_refused_before_anything_is_made(
    objective: str,
) -> None:
    """So quickly that nothing of that size can have been allocated, let alone read."""
    nothing = np.zeros(TEN_MILLION, np.bool_)
    shared = [""] * TEN_MILLION
    names = CatalogTable.__dataclass_fields__
    catalog = CatalogTable(**(dict.fromkeys(names, shared) | {"price": nothing}))
    settings = settings_for(objective, dim=1024)
    if available_bytes() > 4 * TEN_MILLION * settings.dim:
        pytest.skip("this machine has the memory")
    with pytest.raises(TrainingError, match=r"10,000,000 items do not fit.*smaller train.dim"):
        build(taste_shop().interactions, catalog, settings, len(TYPES))


def test_what_an_id_takes_is_counted(objective: str) -> None:
    copies = 5 if objective == "next_item" else 1
    settings = settings_for(objective, dim=64)
    needed = TEN_MILLION * 64 * 4 * copies
    require_memory(TEN_MILLION, settings, needed)
    with pytest.raises(TrainingError, match=f"take {needed / GIB:.1f} GiB in training"):
        require_memory(TEN_MILLION, settings, needed - 1)


def test_a_loss_that_explodes_stops_with_the_step_the_batch_and_a_way_out(
    tmp_path: Path, objective: str
) -> None:
    shop, settings = taste_shop(), settings_for(objective)
    towers = build(shop.interactions, shop.catalog, settings, len(TYPES))

    def spoil(progress: TrainProgress) -> None:
        if progress.step == 2:
            with torch.no_grad():
                towers.item.mix[0].weight[0] = float("inf")

    with pytest.raises(
        TrainingError, match=r"nan at step 3 .*item rows \[\d+, .*last checkpoint.*learning_rate"
    ):
        fit(towers, shop.interactions, TYPE_WEIGHTS, settings, tmp_path, "same", spoil)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
