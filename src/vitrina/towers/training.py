"""Training both towers together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrina.content import ItemFeatures
from vitrina.errors import TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers import ranks
from vitrina.towers.checkpoint import (
    TrainingState,
    remove_checkpoints,
    resume,
    save_checkpoint,
    trainable,
)
from vitrina.towers.device import compiled, compiler_pays, mixed_precision, training_device
from vitrina.towers.factors import item_factors
from vitrina.towers.item_tower import ItemTower
from vitrina.towers.memory import give_back_all_free_memory, require_memory
from vitrina.towers.objectives import Objective, objective_of
from vitrina.towers.text import text_factors
from vitrina.towers.user_tower import Block, SummaryEncoder, UserTower

WARM_UP_STEPS: Final = 50
AVERAGE_KEEP: Final = 0.98
"""Weights are averaged over about the last 50 steps; the average is what is kept."""
GRADIENT_NORM: Final = 5.0
ID_RATE: Final = 4.0
"""Learning rate of learnt ids, as a multiple: each has but its own few events to learn from."""
TEMPERATURE_RATE: Final = 1e-2
FIRST_TEMPERATURE: Final = 0.1
LOWEST_TEMPERATURE: Final = 0.02
GIVE_BACK_STEPS: Final = 4
"""From one return of free memory to the system to the next, on a CPU."""
CURVE_POINTS: Final = 200
"""How often the loss is noted for the learning curve, about."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What a person watches. loss: moving average in nats; examples: shoppers at a moment.

    metric: the newest figure of validation, None before the first.
    """

    step: int
    steps: int
    loss: float
    temperature: float
    examples_per_second: float
    seconds_left: float
    metric: float | None


@dataclass(frozen=True, slots=True)
class Validation:
    """How well retrieval does while training goes on, and when to stop.

    measure: a figure of the towers, in evaluation mode and with the averaged weights; higher is
    better. every: steps from one to the next; the first is before training, the last after it.
    patience: how many in a row without a new best end the training.
    """

    measure: Callable[[TwoTowers], float]
    every: int
    patience: int


class TwoTowers(nn.Module):
    """Both towers and the temperature they share."""

    def __init__(self, item: ItemTower, user: nn.Module) -> None:
        super().__init__()
        self.item = item
        self.user = user
        self.log_scale = nn.Parameter(torch.tensor(math.log(1.0 / FIRST_TEMPERATURE)))


def user_tower(settings: TrainSettings, event_types: int) -> nn.Module:
    """The encoder that the settings ask for."""
    if settings.encoder == "mlp":
        return SummaryEncoder(settings.dim, dropout=settings.dropout)
    return UserTower(
        settings.dim,
        event_types,
        blocks=settings.blocks,
        dropout=settings.dropout,
        sequential=settings.objective == "next_item",
    )


def build(
    interactions: Interactions,
    catalog: CatalogTable,
    settings: TrainSettings,
    event_types: int,
    widths: Sequence[int] | None = None,
) -> TwoTowers:
    """Untrained towers for this catalog.

    widths: of the embeddings of an item's categorical fields, by their cardinality if not given.
    Raises TrainingError where there is nothing to learn, or more than memory holds.
    """
    if len(catalog) < 2 or len(interactions.user_ids) < 2:
        raise TrainingError(
            f"There are {len(catalog)} items and {len(interactions.user_ids)} shoppers with "
            f"events. Training compares what different shoppers turn to and needs two of each at "
            f"the least; ingest more."
        )
    require_memory(len(catalog), settings)
    torch.manual_seed(settings.seed)
    moments = settings.objective == "discoveries"
    text = None if moments else text_factors(catalog)
    # Texts and purchases each make a space of their own. Where there are texts it is theirs, or an
    # item that nobody has met would lie elsewhere than its like.
    factors = np.zeros((len(catalog), settings.dim), np.float32)
    if text is None:
        factors = item_factors(interactions, len(catalog), settings.dim)
    item = ItemTower(
        ItemFeatures.from_catalog(catalog),
        np.bincount(interactions.row, minlength=len(catalog)),
        settings.dim,
        factors,
        learn_ids=not moments,
        id_dropout=settings.id_dropout,
        popularity=moments,
        widths=widths,
        text=text,
    )
    return TwoTowers(item, user_tower(settings, event_types))


def fit(
    towers: TwoTowers,
    interactions: Interactions,
    type_weights: NDArray[np.float32],
    settings: TrainSettings,
    folder: Path,
    identity: str,
    progress: Callable[[TrainProgress], None] | None = None,
    validation: Validation | None = None,
    created_us: NDArray[np.int64] | None = None,
) -> TrainingState:
    """Train in place, ending with the averaged weights; resumes from `folder` if it can.

    With `validation`, those are the averaged weights of the step that it found best.
    type_weights float32 [types]: weight of each event type. identity: see `save_checkpoint`.
    created_us int64 [items]: since when each has been there; None: always.
    With the same seed and the same interruptions or none, the weights come out the same.
    Trains on a CUDA device if there is one; the towers are on the CPU afterwards, in any case.
    Within `ranks.joined`, all processes must call this with the same arguments; each ends with the
    same weights, and only the first writes checkpoints, measures and reports progress.
    Raises TrainingError, keeping the last checkpoint, when the loss is no longer a number.
    """
    device = training_device()
    towers.to(device)
    ranks.share_state(towers)
    objective = objective_of(interactions, len(towers.item), type_weights, settings, created_us)
    optimiser = _optimiser(towers, settings)
    average = {name: value.detach().clone() for name, value in towers.named_parameters()}
    state = TrainingState(towers, average, optimiser, np.random.default_rng(settings.seed))
    _resume(folder, state, identity)
    towers.train()
    if validation is not None and not state.curve:
        _validate(towers, state, validation)
    blocks = [module for module in towers.user.modules() if isinstance(module, Block)]
    started, saved, first_step = time.monotonic(), time.monotonic(), state.step
    with compiled(blocks if compiler_pays(device) else []):
        while state.step < settings.steps and not _exhausted(state, validation):
            if device.type == "cpu" and state.step % GIVE_BACK_STEPS == 0:
                give_back_all_free_memory()
            batch = objective.batch(state.step, state.rng)
            _step(towers, state, objective, batch, settings)
            last = state.step == settings.steps
            if last or state.step % math.ceil(settings.steps / CURVE_POINTS) == 0:
                state.losses.append((state.step, state.loss))
            if validation is not None and (last or state.step % validation.every == 0):
                _validate(towers, state, validation)
            now = time.monotonic()
            if ranks.first() and now - saved > settings.checkpoint_minutes * 60:
                save_checkpoint(folder, state, identity)
                saved = now
            if ranks.first() and progress is not None:
                done, seconds = state.step - first_step, now - started
                progress(
                    TrainProgress(
                        step=state.step,
                        steps=settings.steps,
                        loss=state.loss,
                        temperature=math.exp(-towers.log_scale.item()),
                        examples_per_second=done * objective.examples(batch) / seconds,
                        seconds_left=seconds / done * (settings.steps - state.step),
                        metric=state.curve[-1][1] if state.curve else None,
                    )
                )
    _copy(state.best or state.average, towers)
    towers.cpu().eval()
    return state


def _optimiser(towers: TwoTowers, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW. Each group's `rate` is what its learning rate is to that of the settings."""
    own = {"item.id_table", "log_scale"}
    weights = [value for name, value in towers.named_parameters() if name not in own]
    groups: list[dict[str, Any]] = [
        {"params": weights, "rate": 1.0},
        {"params": [towers.log_scale], "lr": TEMPERATURE_RATE, "weight_decay": 0.0},
    ]
    if isinstance(towers.item.id_table, nn.Parameter):
        groups.append({"params": [towers.item.id_table], "rate": ID_RATE})
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, betas=(0.9, 0.98))


def _resume(folder: Path, state: TrainingState, identity: str) -> None:
    """Bring all processes to the last checkpoint of this run, or clear those of other runs away."""
    resumed = resume(folder, state, identity)
    steps = ranks.every(state.step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"The processes that train together found checkpoints of different steps in {folder}: "
            f"{steps}. Let 'runs' in [paths] be one folder that all of them see."
        )
    if not resumed and ranks.first():
        remove_checkpoints(folder)


def _validate(towers: TwoTowers, state: TrainingState, validation: Validation) -> None:
    """Judge the averaged weights, and keep a copy of them if they are the best so far."""
    current = {name: value.clone() for name, value in trainable(towers).items()}
    _copy(state.average, towers)
    towers.eval()
    value = ranks.once(lambda: validation.measure(towers))
    if value > max((known for _, known in state.curve), default=-math.inf):
        state.best = {name: value.clone() for name, value in trainable(towers).items()}
    state.curve.append((state.step, value))
    _copy(current, towers)
    towers.train()


def _exhausted(state: TrainingState, validation: Validation | None) -> bool:
    """Whether validation has not got better for too long."""
    if validation is None or not state.curve:
        return False
    values = [value for _, value in state.curve]
    return len(values) - 1 - int(np.argmax(values)) >= validation.patience


def _copy(weights: Mapping[str, Tensor], towers: TwoTowers) -> None:
    with torch.no_grad():
        for name, value in trainable(towers).items():
            if name in weights:
                value.copy_(weights[name])


def _step(
    towers: TwoTowers,
    state: TrainingState,
    objective: Objective,
    batch: Any,
    settings: TrainSettings,
) -> None:
    """One update of the weights and of their moving average."""
    device = towers.log_scale.device
    rate = settings.learning_rate * min(1.0, (state.step + 1) / WARM_UP_STEPS)
    rate *= max(0.02, 1.0 - state.step / settings.steps)
    for group in state.optimiser.param_groups:
        if "rate" in group:
            group["lr"] = rate * group["rate"]
    if ranks.count() > 1 or device.type != "cpu":
        # Checkpoints hold the random numbers' state of one process and its CPU, and no other's.
        torch.manual_seed(_seed(settings.seed, state.step, ranks.number()))
    part, share = objective.part(batch, ranks.number(), ranks.count())
    # Before the loss: gradients of the last step would be in memory beside all that it computes.
    state.optimiser.zero_grad(set_to_none=True)
    with mixed_precision(device):
        loss = objective.loss(towers, part) * share
    loss.backward()  # type: ignore[no-untyped-call]
    value = ranks.add_up_gradients(towers.parameters(), loss)
    if not math.isfinite(value):
        raise TrainingError(
            f"The loss became {value} at step {state.step + 1} ({objective.about(batch)}). The "
            f"last checkpoint is kept. Look for extreme values in the data ('vitrina ingest' "
            f"reports them), or train with another train.seed or a lower train.learning_rate."
        )
    nn.utils.clip_grad_norm_(towers.parameters(), GRADIENT_NORM)
    state.optimiser.step()
    with torch.no_grad():
        towers.log_scale.clamp_(max=math.log(1.0 / LOWEST_TEMPERATURE))
        # A short memory at first, or the average would long remember the random beginning.
        keep = min(AVERAGE_KEEP, (1.0 + state.step) / (10.0 + state.step))
        for name, parameter in towers.named_parameters():
            state.average[name].lerp_(parameter, 1.0 - keep)
    state.step += 1
    state.loss = value if math.isnan(state.loss) else 0.98 * state.loss + 0.02 * value


def _seed(*numbers: int) -> int:
    """A seed that is another one for every combination of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
