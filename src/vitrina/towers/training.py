"""Training both towers together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrina.encoding import EncodedBatch
from vitrina.errors import TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.checkpoint import (
    TrainingState,
    remove_checkpoints,
    resume,
    save_checkpoint,
)
from vitrina.towers.factors import item_factors
from vitrina.towers.features import ItemFeatures
from vitrina.towers.item_tower import ItemTower
from vitrina.towers.losses import sampled_softmax
from vitrina.towers.moments import Batch, MomentSampler
from vitrina.towers.user_tower import SummaryEncoder, UserTower

LEARNING_RATE: Final = 3e-3
WARM_UP_STEPS: Final = 50
WEIGHT_DECAY: Final = 0.01
AVERAGE_KEEP: Final = 0.98
"""Weights are averaged over about the last 50 steps; the average is what is kept."""
GRADIENT_NORM: Final = 5.0
FIRST_TEMPERATURE: Final = 0.1
LOWEST_TEMPERATURE: Final = 0.02
ID_DROPOUT: Final = 0.1
FIRST_MOMENT_SHARE: Final = 0.1
"""Moments begin after this share of the data's time: before it, histories are too short."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What a person watches. loss: moving average in nats; examples: shoppers at a moment."""

    step: int
    steps: int
    loss: float
    temperature: float
    examples_per_second: float
    seconds_left: float


class TwoTowers(nn.Module):
    """Both towers and the temperature they share."""

    def __init__(self, item: ItemTower, user: nn.Module) -> None:
        super().__init__()
        self.item = item
        self.user = user
        self.log_scale = nn.Parameter(torch.tensor(math.log(1.0 / FIRST_TEMPERATURE)))

    def loss(self, batch: Batch) -> Tensor:
        """Mean sampled-softmax loss of a batch, in nats."""
        rows, place = np.unique(
            np.concatenate([batch.histories.rows.ravel(), batch.candidates]), return_inverse=True
        )
        items = self.item(torch.from_numpy(rows), torch.from_numpy(batch.popularity[rows]))
        histories, candidates = np.split(place, [batch.histories.rows.size])
        histories = histories.reshape(batch.histories.rows.shape)
        # `embedding`, because the gradient of `items[…]` adds up in an order that varies.
        history = F.embedding(torch.from_numpy(histories), items)
        return sampled_softmax(
            user=self.user(history, *tower_inputs(batch.histories)),
            candidates=F.embedding(torch.from_numpy(candidates), items),
            log_q=torch.from_numpy(batch.log_q),
            positives=torch.from_numpy(batch.positives),
            excluded=torch.from_numpy(batch.excluded),
            scale=self.log_scale.exp(),
            weights=torch.from_numpy(batch.weights),
        )


def tower_inputs(batch: EncodedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Event types, days and mask of a batch: the user tower's inputs beside the vectors."""
    return (
        torch.from_numpy(batch.event_types),
        torch.from_numpy(batch.days),
        torch.from_numpy(batch.mask),
    )


def user_tower(settings: TrainSettings, event_types: int) -> nn.Module:
    """The encoder that the settings ask for."""
    if settings.encoder == "mlp":
        return SummaryEncoder(settings.dim)
    return UserTower(settings.dim, event_types)


def first_moment(interactions: Interactions) -> int:
    """Where the training moments begin, in microseconds."""
    first, last = interactions.timestamp_us.min(), interactions.timestamp_us.max()
    return int(first + (last - first) * FIRST_MOMENT_SHARE)


def build(
    interactions: Interactions, catalog: CatalogTable, settings: TrainSettings, event_types: int
) -> TwoTowers:
    """Untrained towers for this catalog. Raises TrainingError where there is nothing to learn."""
    if len(catalog) < 2 or len(interactions.user_ids) < 2:
        raise TrainingError(
            f"There are {len(catalog)} items and {len(interactions.user_ids)} shoppers with "
            f"events. Training compares what different shoppers turn to and needs two of each at "
            f"the least; ingest more."
        )
    torch.manual_seed(settings.seed)
    factors = item_factors(interactions, len(catalog), settings.dim)
    item = ItemTower(ItemFeatures.from_catalog(catalog), factors, settings.dim, ID_DROPOUT)
    return TwoTowers(item, user_tower(settings, event_types))


def fit(
    towers: TwoTowers,
    interactions: Interactions,
    type_weights: NDArray[np.float32],
    settings: TrainSettings,
    folder: Path,
    identity: str,
    progress: Callable[[TrainProgress], None] | None = None,
) -> TrainingState:
    """Train in place, ending with the averaged weights; resumes from `folder` if it can.

    type_weights float32 [types]: weight of each event type. identity: see `save_checkpoint`.
    With the same seed and the same interruptions or none, the weights come out the same.
    Raises TrainingError, keeping the last checkpoint, when the loss is no longer a number.
    """
    sampler = MomentSampler(
        interactions,
        len(towers.item.categorical),
        type_weights,
        max_history=settings.max_history,
        first_moment_us=first_moment(interactions),
    )
    scale, weights = [towers.log_scale], [*towers.item.parameters(), *towers.user.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
            {"params": scale, "lr": 1e-2, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    average = {name: value.detach().clone() for name, value in towers.named_parameters()}
    state = TrainingState(towers, average, optimiser, np.random.default_rng(settings.seed))
    if not resume(folder, state, identity):
        remove_checkpoints(folder)
    towers.train()
    started, saved, first_step = time.monotonic(), time.monotonic(), state.step
    while state.step < settings.steps:
        batch = sampler.sample(state.rng)
        _step(towers, state, batch, settings.steps)
        now = time.monotonic()
        if now - saved > settings.checkpoint_minutes * 60:
            save_checkpoint(folder, state, identity)
            saved = now
        if progress is not None:
            done, seconds = state.step - first_step, now - started
            progress(
                TrainProgress(
                    step=state.step,
                    steps=settings.steps,
                    loss=state.loss,
                    temperature=math.exp(-towers.log_scale.item()),
                    examples_per_second=done * len(batch.weights) / seconds,
                    seconds_left=seconds / done * (settings.steps - state.step),
                )
            )
    with torch.no_grad():
        for name, parameter in towers.named_parameters():
            parameter.copy_(average[name])
    towers.eval()
    return state


def _step(towers: TwoTowers, state: TrainingState, batch: Batch, steps: int) -> None:
    """One update of the weights and of their moving average."""
    rate = LEARNING_RATE * min(1.0, (state.step + 1) / WARM_UP_STEPS)
    state.optimiser.param_groups[0]["lr"] = rate * max(0.02, 1.0 - state.step / steps)
    loss = towers.loss(batch)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"The loss became {value} at step {state.step + 1} (moment {batch.moment_us} µs). "
            f"The last checkpoint is kept. Look for extreme values in the data ('vitrina ingest' "
            f"reports them), or train with another train.seed."
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
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
