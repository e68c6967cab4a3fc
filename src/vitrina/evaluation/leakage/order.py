"""Training asks only for what lies ahead: every target is later than the history it follows.

Batches are drawn from the lake's events with every event as an item of its own. Whatever then
stands in a batch, as a history's event, a target or a negative, can be told by its moment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from vitrina.encoding import EncodedBatch
from vitrina.evaluation.leakage.check import Check, compared
from vitrina.lake.sequences import Interactions
from vitrina.settings import Settings, TrainSettings
from vitrina.space import normalise
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY, Batch
from vitrina.towers.next_item import SequenceBatch
from vitrina.towers.objectives import objective_of, tower_inputs
from vitrina.towers.run import TrainingData
from vitrina.towers.training import user_tower

BATCHES: Final = 8
ROUNDING: Final = 1e-4
STATES: Final = 500
"""States of the user tower that are computed from the events up to them alone."""


def check_order(data: TrainingData, settings: Settings) -> list[Check]:
    """Checks of the batches that training with these settings would draw."""
    events = every_event_an_item(data.interactions)
    objective = objective_of(events, len(events), data.type_weights, settings.train)
    rng = np.random.default_rng(settings.train.seed)
    batches = [objective.batch(step, rng) for step in range(BATCHES)]
    misplaced = [misplaced_targets(events, batch) for batch in batches]
    checks = [
        _check(
            "training: targets",
            "moments of histories",
            misplaced,
            "{wrong:,} of {of:,} training examples ask for something that does not lie after the "
            "history it is to follow, or is another shopper's.",
        )
    ]
    if settings.train.objective == "next_item":
        checks.append(check_states(data, settings.train, batches[0].histories, batches[0].states))
        return checks
    ahead = [counted_ahead(events, batch) for batch in batches]
    checks.append(
        _check(
            "training: popularity, negatives",
            "later events",
            ahead,
            "{wrong:,} of {of:,} events at or after the moment of a training batch are counted in "
            "its popularity, or in how often it draws negatives.",
        )
    )
    return checks


def every_event_an_item(events: Interactions) -> Interactions:
    """The events with their own place as item row."""
    return replace(events, row=np.arange(len(events), dtype=np.int32))


def misplaced_targets(events: Interactions, batch: Batch | SequenceBatch) -> tuple[int, int]:
    """How many targets are not strictly later than everything in the history they follow, or not
    of its shopper; and how many targets there are.

    events: of `every_event_an_item`; batch: drawn from them. In a batch of a moment, histories
    have to lie before it, too, and targets not.
    """
    rows, mask = batch.histories.rows, batch.histories.mask
    times = np.where(mask, events.timestamp_us[rows], np.iinfo(np.int64).min)
    own = events.user[rows[:, :1]]
    foreign = np.maximum.accumulate((events.user[rows] != own) & mask, axis=1)
    newest = np.maximum.accumulate(times, axis=1)
    if isinstance(batch, SequenceBatch):
        sequence, place = np.divmod(batch.states, rows.shape[1])
        target = batch.targets
        right = events.timestamp_us[target] > newest[sequence, place]
        right &= mask[sequence, place] & ~foreign[sequence, place]
        right &= events.user[target] == own[sequence, 0]
    else:
        target = batch.candidates[batch.positives]
        moment = batch.moment_us
        right = (events.timestamp_us[target] >= moment) & (newest[:, -1:] < moment)
        right &= (events.user[target] == own) & ~foreign[:, -1:]
    return int((~right).sum()), right.size


def counted_ahead(events: Interactions, batch: Batch) -> tuple[int, int]:
    """How many events at or after the batch's moment it has counted, and how many there are.

    An event that is counted has a popularity above 0, or a log_q above that of an item without
    events. Of the latter, only candidates beyond the horizon are judged: nearer ones may be
    targets, which are likelier to be candidates with good reason.
    """
    times = events.timestamp_us
    later = times >= batch.moment_us
    popular = batch.popularity.any(axis=1) & later
    counted = np.zeros(len(events), np.bool_)
    beyond = times[batch.candidates] >= batch.moment_us + HORIZON_DAYS * US_PER_DAY
    counted[batch.candidates[beyond & (batch.log_q > batch.log_q.min() + ROUNDING)]] = True
    return int((popular | counted).sum()), int(later.sum())


def check_states(
    data: TrainingData,
    settings: TrainSettings,
    histories: EncodedBatch,
    states: NDArray[np.int64],
) -> Check:
    """What the user tower makes of a sequence up to an event must not know the events after it.

    histories: real sequences; states: some of their events, b · L + l. The tower's states, which
    training learns from, against its vectors of the sequences that end there. A matter of how the
    tower is built, so that neither its weights nor the items' vectors have to be learnt ones.
    """
    torch.manual_seed(settings.seed)
    tower: Any = user_tower(settings, len(data.event_types)).eval()
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.permutation(states)[:STATES])
    sequence, place = np.divmod(chosen, histories.rows.shape[1])
    ages = histories.days[sequence]
    ended = EncodedBatch(
        rows=histories.rows[sequence],
        event_types=histories.event_types[sequence],
        days=np.maximum(ages - np.take_along_axis(ages, place[:, None], 1), 0).astype(np.float32),
        mask=np.arange(histories.rows.shape[1]) <= place[:, None],
    )
    _, item = np.unique(histories.rows, return_inverse=True)
    vectors = normalise(rng.standard_normal((int(item.max()) + 1, settings.dim)))[item]
    whole = torch.from_numpy(vectors.reshape(*histories.rows.shape, settings.dim))
    with torch.no_grad():
        known = tower.states(whole, *tower_inputs(histories)).flatten(0, 1)[chosen]
        expected = tower(
            whole[sequence] * torch.from_numpy(ended.mask)[:, :, None], *tower_inputs(ended)
        )
    return compared(
        "training: states of sequences",
        "shorter sequences",
        [expected.numpy()],
        [known.numpy()],
        "What the user tower makes of a sequence up to an event changes with the events after it.",
        tolerance=ROUNDING,
    )


def _check(subject: str, against: str, found: list[tuple[int, int]], sentence: str) -> Check:
    wrong, of = (sum(part) for part in zip(*found, strict=True))
    said = sentence.format(wrong=wrong, of=of) if wrong else ""
    return Check(subject, against, of, float(wrong), said)
