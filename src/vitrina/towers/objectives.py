"""What the towers are trained for: where batches come from, and the loss of one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrina.encoding import EncodedBatch
from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.item_tower import ItemTower
from vitrina.towers.losses import (
    full_softmax,
    mixed_log_q,
    over_lengths,
    sampled_softmax,
    shared_softmax,
    subsampling_weights,
)
from vitrina.towers.moments import Batch, MomentSampler
from vitrina.towers.next_item import SequenceBatch, SequenceSampler

CPU: Final = torch.device("cpu")
FIRST_MOMENT_SHARE: Final = 0.1
"""Moments begin after this share of the data's time: before it, histories are too short."""


class Towers(Protocol):
    """What a loss needs of the towers. log_scale: ln(1 / temperature), a scalar."""

    item: ItemTower
    user: Any
    log_scale: nn.Parameter


FULL_CATALOG: Final = 50_000
"""The most items that a step's targets are told from all of."""

SAMPLED_NEGATIVES: Final = 4096
"""Drawn evenly, of a larger catalog."""

HISTORY_DROPOUT: Final = {"discoveries": 0.6, "next_item": 0.0}


class Objective(Protocol):
    """Batches and their loss."""

    def batch(self, step: int, rng: np.random.Generator) -> Any:
        """The batch of a step, counted from 0; all that is random about it comes from `rng` or
        from a seed."""
        ...

    def part(self, batch: Any, number: int, count: int) -> tuple[Any, float]:
        """What the process of that number, of `count`, computes of a batch, and its share.

        The losses of all parts, each times its share, add up to that of the batch."""
        ...

    def loss(self, towers: Towers, batch: Any) -> Tensor:
        """Mean loss of a batch, in nats, computed where the towers are."""
        ...

    def examples(self, batch: Any) -> int:
        """How many training examples a batch is."""
        ...

    def about(self, batch: Any) -> str:
        """Where in the data a batch is from, for a person who looks for what is wrong with it."""
        ...


def objective_of(
    interactions: Interactions,
    items: int,
    type_weights: NDArray[np.float32],
    settings: TrainSettings,
    created_us: NDArray[np.int64] | None = None,
) -> Objective:
    """What the settings ask for.

    type_weights float32 [types]: weight of each event type. created_us: as of `MomentSampler`;
    learning the next item needs none, since what nobody has met is no negative there.
    """
    if settings.objective == "next_item":
        return NextItem(interactions, items, type_weights, settings)
    return Discoveries(interactions, items, type_weights, settings, created_us)


class Discoveries:
    """What a shopper turns to in the days after a moment and had never met before it."""

    def __init__(
        self,
        interactions: Interactions,
        items: int,
        type_weights: NDArray[np.float32],
        settings: TrainSettings,
        created_us: NDArray[np.int64] | None = None,
    ) -> None:
        self._lengths = settings.matryoshka
        self._sampler = MomentSampler(
            interactions,
            items,
            type_weights,
            max_history=settings.max_history,
            first_moment_us=first_moment(interactions),
            history_dropout=_history_dropout(settings),
            created_us=created_us,
        )

    def batch(self, step: int, rng: np.random.Generator) -> Batch:
        return self._sampler.sample(rng)

    def part(self, batch: Batch, number: int, count: int) -> tuple[Batch, float]:
        """Some of the shoppers, and all candidates. Raises TrainingError where there is none."""
        shoppers = len(batch.weights)
        if shoppers < count:
            raise TrainingError(
                f"{count} processes cannot share out {shoppers} shoppers, all that can be learnt "
                f"from at the moment {batch.moment_us} µs. Train in fewer, or in one."
            )
        mine = slice(number, None, count)
        part = replace(
            batch,
            histories=_histories(batch.histories, mine),
            positives=batch.positives[mine],
            excluded=batch.excluded[mine],
            weights=batch.weights[mine],
        )
        return part, len(part.weights) / shoppers

    def loss(self, towers: Towers, batch: Batch) -> Tensor:
        """Sampled softmax over the candidates of the moment."""
        on = towers.log_scale.device
        rows, place = np.unique(
            np.concatenate([batch.histories.rows.ravel(), batch.candidates]), return_inverse=True
        )
        items = towers.item(tensor(rows, on), tensor(batch.popularity[rows], on))
        histories, candidates = np.split(place, [batch.histories.rows.size])
        histories = histories.reshape(batch.histories.rows.shape)
        # `embedding`, because the gradient of `items[…]` adds up in an order that varies.
        history = F.embedding(tensor(histories, on), items)
        user = towers.user(history, *tower_inputs(batch.histories, on))
        # Scores are up to 1 / temperature: in bfloat16, the nearest one may be 0.1 nats away.
        with torch.autocast(on.type, enabled=False):
            softmax = partial(
                sampled_softmax,
                log_q=tensor(batch.log_q, on),
                positives=tensor(batch.positives, on),
                excluded=tensor(batch.excluded, on),
                scale=towers.log_scale.exp(),
                weights=tensor(batch.weights, on),
            )
            shown = F.embedding(tensor(candidates, on), items)
            return over_lengths(softmax, user.float(), shown.float(), self._lengths)

    def examples(self, batch: Batch) -> int:
        return len(batch.weights)

    def about(self, batch: Batch) -> str:
        rows = batch.candidates[np.unique(batch.positives)]
        return (
            f"{len(batch.weights)} shoppers at the moment {batch.moment_us} µs, targets the item "
            f"rows {rows[:20].tolist()}…"
        )


class NextItem:
    """After each event of a sequence, the next one, told from all items met or from a sample.

    An item without events is no negative: that nobody turned to it may be because it was not there
    yet, and to push it away would push away the like of it that is new.
    """

    def __init__(
        self,
        interactions: Interactions,
        items: int,
        type_weights: NDArray[np.float32],
        settings: TrainSettings,
    ) -> None:
        self._lengths = settings.matryoshka
        self._sampler = SequenceSampler(
            interactions,
            type_weights,
            max_history=settings.max_history,
            batch_events=settings.batch_events,
            history_dropout=_history_dropout(settings),
            seed=settings.seed,
        )
        self.steps_per_epoch = self._sampler.batches_per_epoch
        counts = torch.from_numpy(np.bincount(interactions.row, minlength=items))
        self._item_weights = subsampling_weights(counts, settings.subsample).numpy()
        self._met = np.flatnonzero(counts)
        self._counts = counts[self._met].float()
        self._log_q = settings.log_q
        self._drawn = 0 if len(self._met) <= FULL_CATALOG else SAMPLED_NEGATIVES
        if settings.negatives is not None:
            self._drawn = settings.negatives

    def batch(self, step: int, rng: np.random.Generator) -> SequenceBatch:
        batch = self._sampler.batch(step)
        batch = replace(batch, weights=batch.weights * self._item_weights[batch.targets])
        if not self._drawn:
            return batch
        drawn = self._met[rng.integers(len(self._met), size=self._drawn)]
        return replace(batch, negatives=np.concatenate([batch.targets, drawn]))

    def part(self, batch: SequenceBatch, number: int, count: int) -> tuple[SequenceBatch, float]:
        """Some of the sequences, which may be none, and their targets; all negatives."""
        sequence, place = np.divmod(batch.states, batch.histories.rows.shape[1])
        mine = sequence % count == number
        part = replace(
            batch,
            histories=_histories(batch.histories, slice(number, None, count)),
            states=(sequence // count * batch.histories.rows.shape[1] + place)[mine],
            targets=batch.targets[mine],
            weights=batch.weights[mine],
        )
        whole = float(batch.weights.sum())
        return part, float(part.weights.sum()) / whole if whole else 0.0

    def loss(self, towers: Towers, batch: SequenceBatch) -> Tensor:
        """Softmax over all items met, or over the batch's negatives."""
        on = towers.log_scale.device
        rows = self._met
        if len(batch.negatives):
            rows = np.unique(np.concatenate([batch.histories.rows.ravel(), batch.negatives]))

        def places(of: NDArray[np.int64]) -> Tensor:
            # The padding of histories may be no row among these, and then is any.
            return tensor(np.searchsorted(rows, of), on)

        items = towers.item(tensor(rows, on))
        history = F.embedding(places(batch.histories.rows), items)
        states = towers.user.states(history, *tower_inputs(batch.histories, on)).flatten(0, 1)
        softmax = partial(
            full_softmax,
            targets=places(batch.targets),
            scale=towers.log_scale.exp(),
            weights=tensor(batch.weights, on),
        )
        if len(batch.negatives):
            softmax = partial(
                shared_softmax,
                **softmax.keywords,
                negatives=places(batch.negatives),
                log_q=self._log_odds(batch, rows).to(on),
                correction="classic" if self._log_q == "none" else self._log_q,
            )
        # `embedding`, because the gradient of `states[…]` adds up in an order that varies.
        user = F.embedding(tensor(batch.states, on), states)
        return over_lengths(softmax, user, items, self._lengths)

    def _log_odds(self, batch: SequenceBatch, rows: NDArray[np.int64]) -> Tensor:
        """What the logQ correction takes off the score of each of the rows."""
        if self._log_q == "none":
            return torch.zeros(len(rows))
        in_batch = len(batch.negatives) - self._drawn
        return mixed_log_q(self._counts, in_batch, self._drawn)[np.searchsorted(self._met, rows)]

    def examples(self, batch: SequenceBatch) -> int:
        return len(batch.targets)

    def about(self, batch: SequenceBatch) -> str:
        rows = np.unique(batch.targets)
        return f"{len(batch.targets)} targets, of the item rows {rows[:20].tolist()}…"


def _history_dropout(settings: TrainSettings) -> float:
    if settings.history_dropout is not None:
        return settings.history_dropout
    return HISTORY_DROPOUT[settings.objective]


def first_moment(interactions: Interactions) -> int:
    """Where the training moments begin, in microseconds."""
    first, last = interactions.timestamp_us.min(), interactions.timestamp_us.max()
    return int(first + (last - first) * FIRST_MOMENT_SHARE)


def tower_inputs(batch: EncodedBatch, device: torch.device = CPU) -> tuple[Tensor, Tensor, Tensor]:
    """Event types, days and mask of a batch: the user tower's inputs beside the vectors."""
    return (
        tensor(batch.event_types, device),
        tensor(batch.days, device),
        tensor(batch.mask, device),
    )


def tensor(array: NDArray[Any], device: torch.device = CPU) -> Tensor:
    """An array as a tensor: on the CPU the same memory, elsewhere a copy."""
    return torch.from_numpy(array).to(device)


def _histories(batch: EncodedBatch, which: slice) -> EncodedBatch:
    return EncodedBatch(
        batch.rows[which], batch.event_types[which], batch.days[which], batch.mask[which]
    )
