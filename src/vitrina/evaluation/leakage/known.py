"""What is known at the moment of prediction: everything that is computed from the past of a lake.

Computed by the code that training, the bundle and evaluation use, from the lake they read. Two
lakes that differ after the moment alone must agree in all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from vitrina.bundle.bundle import ITEM_TOWER, USER_TOWER, Bundle, load_bundle
from vitrina.lake.sequences import popularity
from vitrina.lake.tables import keep_path
from vitrina.online.recommender import Recommender, Request
from vitrina.schema import REPURCHASE_EVENT, History
from vitrina.settings import ServeSettings, Settings
from vitrina.state.sqlite import SqliteState
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.baselines import OwnFrequency, RecentPopularity
from vitrina.towers.calibration import (
    POPULARITY_HALF_LIFE_DAYS,
    fit_repurchase,
    item_repeat_rates,
)
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.objectives import objective_of
from vitrina.towers.run import (
    TOWERS,
    VECTORS,
    TrainingData,
    learn,
    load_training_data,
    served,
    training_identity,
)

Known = Mapping[str, list[NDArray[Any]]]
"""What is known, by what it is called in the report, in the order in which one thing follows from
another."""

BATCHES: Final = 4
SHOPPERS: Final = 64
"""Of whom scores and recommendations are compared, spread over all."""
LISTED: Final = 100


def known_at(settings: Settings) -> Known:
    """What follows from the lake without any training."""
    data = load_training_data(settings)
    events, items = data.interactions, len(data.catalog)
    cut = data.split.cut_us
    purchase = _purchase_code(data)
    shoppers = some_shoppers(data)
    return {
        "histories": [
            np.array(events.user_ids),
            events.user,
            events.row,
            events.event_type,
            events.timestamp_us,
            events.session,
        ],
        **prices_at(settings),
        "popularity features": [PopularityFeatures(events, items).at(cut)],
        "popularity list": [popularity(events, items, cut, POPULARITY_HALF_LIFE_DAYS)],
        "repurchase model": [
            item_repeat_rates(events, items, purchase),
            _numbers(fit_repurchase(events, items, purchase).to_json()),
        ],
        "training batches": _batches(data, settings),
        "baselines' scores": [
            baseline(events, items).scores(shoppers)
            for baseline in (RecentPopularity, OwnFrequency)
        ],
    }


def prices_at(settings: Settings) -> Known:
    """What the catalog's history says of the moment."""
    catalog = load_training_data(settings).catalog
    return {"prices and availability": [catalog.price, catalog.available]}


def towers_of(settings: Settings) -> Known:
    """What a training comes to, which is done for it; nothing is exported."""
    data = load_training_data(settings)
    settings.paths.runs.mkdir(parents=True)
    towers, _, _ = learn(settings, data, training_identity(settings, data.split))
    vectors, user = served(towers, data, settings.train)
    return {
        "item tower": tensors_of(towers.item.state_dict()),
        "user tower": tensors_of(user.state_dict()),
        "item vectors": [vectors],
    }


def towers_in(folder: Path) -> Known:
    """What a folder of trained towers holds, as `towers_of`."""
    return {
        "item tower": tensors_of(load_file(folder / ITEM_TOWER)),
        "user tower": tensors_of(load_file(folder / USER_TOWER)),
        "item vectors": [load_file(folder / VECTORS)["vectors"].numpy()],
    }


def draft_of(settings: Settings, towers: Path) -> Known:
    """What follows from trained towers and the lake: a draft, which is made for it, and what the
    recommender answers with it.

    settings: those that the towers in the folder `towers` were trained with, but for another lake,
    and an empty folder for runs.
    """
    keep_path(towers, settings.paths.runs / TOWERS)
    bundle = load_bundle(assemble_draft(settings), verify=False)
    return {**held_by(bundle), **_recommended(bundle, load_training_data(settings))}


def held_by(bundle: Bundle) -> Known:
    """What a bundle holds of the past."""
    return {
        "popularity": [bundle.popularity, bundle.repeat_rate],
        "newcomers' vector": [bundle.centroid],
        "precomputed lists": [bundle.lists.covisited, bundle.lists.best_sellers],
        "ranking models": [_numbers(bundle.ranking)],
    }


def some_shoppers(data: TrainingData) -> NDArray[np.int64]:
    """SHOPPERS of the shoppers, spread over all."""
    last = len(data.interactions.user_ids) - 1
    return np.unique(np.linspace(0, last, SHOPPERS).round().astype(np.int64))


def _batches(data: TrainingData, settings: Settings) -> list[NDArray[Any]]:
    """Everything in the batches that training would draw: histories, targets, negatives, logQ."""
    events = data.interactions
    objective = objective_of(events, len(data.catalog), data.type_weights, settings.train)
    rng = np.random.default_rng(settings.train.seed)
    return [array for step in range(BATCHES) for array in _arrays(objective.batch(step, rng))]


def _recommended(bundle: Bundle, data: TrainingData) -> Known:
    """Items and scores of some shoppers' shelves, by the recommender that serves."""
    recommender = Recommender(bundle, SqliteState(None), None, ServeSettings.model_validate({}))
    rows, scores = [], []
    for user in some_shoppers(data):
        history = _history(data, int(user))
        for shelf in ("for_you", "discover"):
            answer = recommender.recommend(Request(history=history, k=LISTED, shelf=shelf))
            rows.append(answer.candidates.rows)
            scores.append(answer.candidates.scores)
    return {"recommended items": rows, "scores": scores}


def _history(data: TrainingData, user: int) -> History:
    events = data.interactions
    mine = np.flatnonzero(events.user == user)
    return History(
        [data.catalog.item_ids[row] for row in events.row[mine]],
        [data.event_types[code] for code in events.event_type[mine]],
        events.timestamp_us[mine].tolist(),
    )


def _purchase_code(data: TrainingData) -> int:
    types = data.event_types
    return types.index(REPURCHASE_EVENT) if REPURCHASE_EVENT in types else len(types)


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    """All numbers in a dataclass of arrays and numbers, at any depth."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _arrays(getattr(value, field.name))
    elif isinstance(value, torch.Tensor):
        yield value.numpy()
    else:
        yield np.asarray(value)


def tensors_of(tensors: Mapping[str, torch.Tensor]) -> list[NDArray[Any]]:
    """Tensors as arrays, in the order of their names."""
    return [tensors[name].cpu().numpy() for name in sorted(tensors)]


def _numbers(content: Mapping[str, Any]) -> NDArray[np.float64]:
    """The numbers in nested mappings, in the order of their names."""
    found: list[float] = []
    for name in sorted(content):
        value = content[name]
        found += _numbers(value).tolist() if isinstance(value, Mapping) else [float(value)]
    return np.array(found)
