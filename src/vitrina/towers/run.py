"""A training run: from the lake to a folder of trained towers.

`<runs>/towers/` holds weights and what their rows stand for, the exported user tower, the catalog's
vectors, `training.json`, the model card and the picture of the learning curves.
It is complete or absent. While training, `<runs>/checkpoint-<step>/` says where to go on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from vitrina import __version__
from vitrina.bundle import bundle as layout
from vitrina.bundle.files import replaced
from vitrina.encoding import EncodedBatch
from vitrina.errors import TrainingError
from vitrina.lake.catalog import CatalogTable, count_items, load_catalog
from vitrina.lake.sequences import Interactions, load_interactions
from vitrina.lake.split import TimeSplit, choose_split
from vitrina.lake.tables import current_tables
from vitrina.settings import Settings, TrainSettings
from vitrina.towers import ranks
from vitrina.towers.card import Run, model_card
from vitrina.towers.checkpoint import TrainingState, remove_checkpoints
from vitrina.towers.curves import learning_curves
from vitrina.towers.encode import user_vectors
from vitrina.towers.export import export_user_tower, require_item_parity
from vitrina.towers.features import PopularityFeatures
from vitrina.towers.memory import require_memory
from vitrina.towers.moments import NEW_FOR_DAYS, US_PER_DAY, newest_histories
from vitrina.towers.training import TrainProgress, TwoTowers, build, fit
from vitrina.towers.user_tower import TowardsCentre
from vitrina.towers.validation import HeldOut, hold_out
from vitrina.towers.warm_start import (
    EarlierTowers,
    carry_over,
    earlier_towers,
    require_no_future,
    require_same_shape,
    save_towers,
)

TOWERS: Final = "towers"
VECTORS, REPORT = "vectors.safetensors", "training.json"
PARITY_USERS: Final = 64


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training run came to. cached: this very training had been completed before.

    warm_start: which earlier towers it began with. metric: what validation measured, None where
    there was none. curve: (step, metric) of each measurement; kept_step: the best of them, whose
    weights these are. losses: (step, moving average in nats).
    """

    folder: Path
    steps: int
    seconds: float
    loss: float
    temperature: float
    resumed_from_step: int
    cached: bool
    parity: float
    identity: str
    data_until_us: int
    kept_step: int
    warm_start: str | None
    metric: str | None
    curve: Sequence[Sequence[float]]
    losses: Sequence[Sequence[float]]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What the towers learn from: the catalog, and the events strictly before the cut."""

    catalog: CatalogTable
    interactions: Interactions
    split: TimeSplit
    event_types: list[str]
    type_weights: NDArray[np.float32]


def load_training_data(settings: Settings) -> TrainingData:
    """Events before the cut, and the catalog with the prices of the cut, from the lake."""
    split = choose_split(settings.paths.lake, settings.evaluate)
    event_types = sorted(settings.events.weights)
    catalog = load_catalog(settings.paths.lake, as_of_us=split.cut_us)
    interactions = load_interactions(
        settings.paths.lake,
        before_us=split.cut_us,
        item_ids=catalog.item_ids,
        event_types=event_types,
    )
    weights = np.array([settings.events.weights[name] for name in event_types], np.float32)
    if not len(interactions):
        raise TrainingError(
            "There are no events before the cut. Ingest a longer period, or set evaluate.cut."
        )
    return TrainingData(catalog, interactions, split, event_types, weights)


def train(
    settings: Settings,
    *,
    fresh: bool = False,
    warm_start: bool = False,
    progress: Callable[[TrainProgress], None] | None = None,
) -> TrainReport:
    """Train the towers on the lake's events before the cut.

    Goes on from the last checkpoint of the same data and settings, and does nothing when that
    very training is complete, unless `fresh`. warm_start: begin with the weights of the current
    bundle, or of the last run if nothing was promoted. Within `ranks.joined`, all processes take
    part, and the first writes. Raises TrainingError, DataError.
    """
    runs, started = settings.paths.runs, time.monotonic()
    runs.mkdir(parents=True, exist_ok=True)
    # Before the catalog is read, which takes memory, too.
    require_memory(count_items(settings.paths.lake), settings.train)
    data = load_training_data(settings)
    identity = training_identity(settings, data.split)
    if fresh:
        ranks.once(lambda: remove_checkpoints(runs))
    elif (report := completed(runs)) is not None and report.identity == identity:
        return report
    earlier = earlier_towers(settings.paths, runs / TOWERS) if warm_start else None
    if earlier is not None:
        require_same_shape(earlier, settings.train)
        require_no_future(earlier, data.split.cut_us)
    first_step = 0

    def watch(report: TrainProgress) -> None:
        nonlocal first_step
        first_step = first_step or report.step
        if progress is not None:
            progress(report)

    towers, state, held = learn(settings, data, identity, earlier, watch)

    def write() -> TrainReport:
        vectors, user = served(towers, data, settings.train)
        folder = runs / TOWERS
        with replaced(folder) as partial:
            save_towers(
                partial,
                towers,
                user,
                data.catalog.item_ids,
                data.event_types,
                settings.train,
                data.split.cut_us,
            )
            require_item_parity(towers.item, partial, data.catalog)
            save_file({"vectors": vectors}, partial / VECTORS)
            _, sample = sample_histories(
                data.interactions, settings.train.max_history, PARITY_USERS
            )
            parity = export_user_tower(user, partial / layout.ENCODER, vectors, sample)
            report = TrainReport(
                folder=folder,
                steps=state.step,
                seconds=round(time.monotonic() - started, 1),
                loss=round(state.loss, 4),
                temperature=round(float(np.exp(-towers.log_scale.item())), 4),
                resumed_from_step=max(first_step - 1, 0),
                cached=False,
                parity=parity,
                identity=identity,
                data_until_us=data.split.cut_us,
                kept_step=state.kept_step,
                warm_start=None if earlier is None else earlier.source,
                metric=None if held is None else held.metric,
                curve=state.curve,
                losses=state.losses,
            )
            (partial / REPORT).write_bytes(orjson.dumps(report.to_json()))
            tables = current_tables(settings.paths.lake).name
            card = model_card(Run(settings.train, tables, data, held, towers, report))
            (partial / layout.CARD).write_text(card, encoding="utf-8")
            picture = learning_curves(report.losses, report.curve, report.metric)
            (partial / layout.CURVES).write_text(picture, encoding="utf-8")
        remove_checkpoints(runs)
        return report

    return ranks.once(write)


def learn(
    settings: Settings,
    data: TrainingData,
    identity: str,
    earlier: EarlierTowers | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
) -> tuple[TwoTowers, TrainingState, HeldOut | None]:
    """The towers trained on `data`, how training ended, and what was held out, if anything.

    Checkpoints of this `identity` are read from and written to `paths.runs`. earlier: the towers
    to begin with.
    """
    held = hold_out(data.interactions, len(data.catalog), data.type_weights, settings.train)
    learnt = data.interactions if held is None else held.train
    towers = build(
        learnt,
        data.catalog,
        settings.train,
        len(data.event_types),
        None if earlier is None else earlier.widths,
    )
    if earlier is not None:
        carry_over(towers, data.catalog.item_ids, data.event_types, earlier)
    state = fit(
        towers,
        learnt,
        data.type_weights,
        settings.train,
        settings.paths.runs,
        identity if earlier is None else f"{identity} from {earlier.identity}",
        progress,
        None if held is None else held.validation(settings.train),
        data.catalog.created_us,
    )
    return towers, state, held


def completed(runs: Path) -> TrainReport | None:
    """The report of the finished training in `runs`, if there is one."""
    path = runs / TOWERS / REPORT
    if not path.exists():
        return None
    values = orjson.loads(path.read_bytes())
    if values.keys() != {entry.name for entry in fields(TrainReport)}:
        return None  # another version's
    return TrainReport(**{**values, "folder": runs / TOWERS, "cached": True})


def training_identity(settings: Settings, split: TimeSplit) -> str:
    """Digest of all that decides the weights: the tables, the cut, the settings, the code."""
    parts = [
        __version__,
        current_tables(settings.paths.lake).name,
        split.cut_us,
        settings.train.model_dump(exclude={"checkpoint_minutes"}),
        settings.events.model_dump(),
    ]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def served(
    towers: TwoTowers, data: TrainingData, settings: TrainSettings
) -> tuple[NDArray[np.float32], nn.Module]:
    """What a bundle holds of trained towers: the catalog's vectors, and the user tower."""
    if settings.objective == "next_item":
        return towers.item.embed_catalog(), towers.user
    popularity = PopularityFeatures(data.interactions, len(data.catalog)).at(data.split.cut_us)
    towers.item.expect(popularity)
    new = data.catalog.created_us > data.split.cut_us - NEW_FOR_DAYS * US_PER_DAY
    popularity[new] = np.maximum(popularity[new], towers.item.usual_popularity.cpu().numpy())
    vectors = towers.item.embed_catalog(popularity)
    return vectors, towards_centre(towers.user, vectors, data.interactions, settings.max_history)


def towards_centre(
    encoder: nn.Module,
    vectors: NDArray[np.float32],
    interactions: Interactions,
    max_history: int,
) -> TowardsCentre:
    """The trained encoder, drawn towards the mean of all shoppers' vectors."""
    everybody = np.arange(len(interactions.user_ids))
    total = user_vectors(encoder, vectors, interactions, everybody, max_history).sum(0)
    return TowardsCentre(encoder, torch.from_numpy(total / np.linalg.norm(total))).eval()


def sample_histories(
    interactions: Interactions, max_history: int, count: int
) -> tuple[NDArray[np.int64], EncodedBatch]:
    """The newest histories of about `count` shoppers spread over all: users [B], and the batch."""
    users = np.unique(
        np.linspace(0, len(interactions.user_ids) - 1, count).round().astype(np.int64)
    )
    return users, newest_histories(interactions, users, max_history)
