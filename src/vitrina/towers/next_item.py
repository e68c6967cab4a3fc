"""Training examples from whole sequences: after each event, what comes next.

Every event of a shopper is a target of the events strictly before it, all of a sequence at once
(Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.5). Sequences
of like length share a batch, so that next to nothing is computed for padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitrina.encoding import EncodedBatch
from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.towers.moments import encode_events, spans, thinned, user_starts


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """B sequences of up to L events, and T targets.

    histories: the sequences (rows are item rows). states int64 [T]: b · L + l, the newest event l
    of sequence b that lies strictly before the target. targets int64 [T]: item rows. weights
    float32 [T]. negatives int64 [K]: item rows that all targets are told from; none for all items.
    """

    histories: EncodedBatch
    states: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    negatives: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


class SequenceSampler:
    """Batches of whole sequences, epoch after epoch, each a function of seed and number alone."""

    def __init__(
        self,
        interactions: Interactions,
        type_weights: NDArray[np.float32],
        *,
        max_history: int,
        batch_events: int,
        history_dropout: float,
        seed: int,
    ) -> None:
        """type_weights float32 [types]: how much a target of each event type counts.

        A sequence longer than `max_history` events is cut into windows, at other places in every
        epoch. batch_events: targets of a batch, about. history_dropout: each window lacks a share
        of its events drawn between 0 and twice this, so that no single event is leant on. Raises
        TrainingError when no event that counts has one strictly before it.
        """
        self._events = interactions
        self._max_history = max_history
        self._history_dropout = history_dropout
        self._seed = seed
        self._start = user_starts(interactions)
        self._weight = type_weights[interactions.event_type]
        first_moment = interactions.timestamp_us[self._start[interactions.user]]
        if not self._weight[interactions.timestamp_us > first_moment].any():
            raise TrainingError(
                "No shopper has two events at different moments, the later one of a type with a "
                "weight above 0 in [events], so there is no next one to learn. Ingest more events."
            )
        targets = len(interactions) - len(interactions.user_ids)
        self.batches_per_epoch = max(1, round(targets / max(batch_events, max_history)))
        self._epoch = -1
        self._begin, self._length = np.zeros((2, 0), np.int64)
        self._batches: list[NDArray[np.int64]] = []

    def batch(self, step: int) -> SequenceBatch:
        """The batch of a training step, counted from 0."""
        epoch, number = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._cut(np.random.default_rng([self._seed, epoch]))
        chosen = self._batches[number]
        positions, mask = spans(self._begin[chosen], self._length[chosen])
        if self._history_dropout:
            rng = np.random.default_rng([self._seed, epoch, number])
            positions, mask = thinned(positions, mask, self._history_dropout, rng)
        return self._make(positions, mask)

    def _cut(self, rng: np.random.Generator) -> None:
        """Cut the sequences into windows, and group windows of like length."""
        self._begin, self._length = windows(self._start, self._max_history, rng)
        order = np.argsort(self._length + rng.random(len(self._length)), kind="stable")
        done = np.cumsum(self._length[order] - 1)
        number = (done - 1) * self.batches_per_epoch // done[-1]
        cuts = np.searchsorted(number, np.arange(1, self.batches_per_epoch))
        batches = np.split(order, cuts)
        self._batches = [batches[place] for place in rng.permutation(len(batches))]

    def _make(self, positions: NDArray[np.int64], mask: NDArray[np.bool_]) -> SequenceBatch:
        inputs, target = mask[:, 1:], positions[:, 1:]
        histories = encode_events(self._events, positions[:, :-1], inputs, max_age_days=np.inf)
        # Events at one and the same moment are not each other's past, in whatever order they are.
        later = np.diff(self._events.timestamp_us[positions], axis=1) > 0
        first = np.where(later, np.arange(1, positions.shape[1]), 0)
        state = np.maximum.accumulate(first, axis=1) - 1
        wanted = inputs & (state >= 0) & (self._weight[target] > 0)
        sequence = np.arange(len(positions))[:, None] * inputs.shape[1]
        return SequenceBatch(
            histories=histories,
            states=(sequence + state)[wanted],
            targets=self._events.row[target[wanted]].astype(np.int64),
            weights=self._weight[target[wanted]].astype(np.float32),
        )


def windows(
    start: NDArray[np.int64], longest: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut sequences into windows of up to `longest` + 1 events, each sharing one with the next.

    start int64 [u + 1]: where each shopper's events begin. The first window of a sequence that is
    too long has a random length. Sequences of one event have none. Returns where windows begin
    and how many events they have, int64 [w] each.
    """
    pairs = np.diff(start) - 1
    first = np.where(pairs > longest, rng.integers(1, longest + 1, len(pairs)), pairs)
    count = np.where(pairs > 0, 1 + -(-(pairs - first) // longest), 0)
    shopper = np.repeat(np.arange(len(pairs)), count)
    number = np.arange(len(shopper)) - np.repeat(np.cumsum(count) - count, count)
    begin = np.where(number > 0, first[shopper] + (number - 1) * longest, 0)
    end = np.minimum(first[shopper] + number * longest, pairs[shopper])
    return start[shopper] + begin, end - begin + 1
