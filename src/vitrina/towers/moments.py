"""Training examples as of a moment.

A batch is many shoppers at one moment: each one's history is what lies strictly before it, the
positives are what they turned to within the horizon after it and had never met before, and item
popularity is counted up to it. Evaluation and serving look at the world in just this way, so the
towers learn on what they will see: what a shopper bought again is left to the repurchase source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitrina.encoding import MAX_AGE_DAYS, SECONDS_PER_DAY, EncodedBatch, age_days
from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.towers.features import FOUR_WEEKS, PopularityFeatures, first_of_pair

US_PER_DAY: Final = int(SECONDS_PER_DAY * 1e6)
HORIZON_DAYS: Final = 14
LAST_MOMENT_DAYS: Final = 3
"""The newest moment lies this long before the end of the data: there has to be something after."""
MIN_EVENTS: Final = 2
SAMPLED_NEGATIVES: Final = 2048
NEGATIVE_POWER: Final = 0.75
"""Sampled negatives follow popularity to this power: popular items are sub-sampled."""

UNSEEN_SHARE: Final = 0.3
"""What an item without events counts for among them, in 1 / 100,000 of the events."""
NEW_FOR_DAYS: Final = 28
"""How long an item may be there before it says something that nobody turns to it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B shoppers at one moment and C candidate items that they share.

    histories: B histories (rows are item rows). candidates int64 [C]: item rows, distinct.
    log_q float32 [C]: ln of the probability that the item is among the candidates. positives
    int64 [B, P]: positions in candidates. excluded bool [B, C]: met before the moment, so neither
    positive nor negative. weights float32 [B], mean 1. popularity float32 [items, features]: as of
    the moment.
    """

    moment_us: int
    histories: EncodedBatch
    candidates: NDArray[np.int64]
    log_q: NDArray[np.float32]
    positives: NDArray[np.int64]
    excluded: NDArray[np.bool_]
    weights: NDArray[np.float32]
    popularity: NDArray[np.float32]


class MomentSampler:
    """Draws batches. type_weights float32 [types]: how much a target of each event type counts."""

    def __init__(
        self,
        interactions: Interactions,
        items: int,
        type_weights: NDArray[np.float32],
        *,
        max_history: int,
        first_moment_us: int,
        users: int = 256,
        positives: int = 8,
        history_dropout: float = 0.6,
        subsample_share: float = 0.01,
        created_us: NDArray[np.int64] | None = None,
    ) -> None:
        """Moments are drawn evenly between first_moment_us and the end of the data.

        users, positives: size of a batch. history_dropout: each history hides a share of its
        events drawn between 0 and twice this, so that no single event is leant on.
        subsample_share: positives of items with a larger share of the events than this are
        thinned to √(share / theirs) (Mikolov et al., NeurIPS 2013, section 2.3). created_us
        int64 [items]: since when each has been there; one that is new and that nobody has met
        is no negative, for nobody has refused it. None: they have always been there. Raises
        TrainingError when no moment has two shoppers with something before and something new
        after it.
        """
        self._events = interactions
        self._items = items
        self._max_history = max_history
        self._users, self._positives = users, positives
        self._history_dropout = history_dropout
        self._popularity = PopularityFeatures(interactions, items)
        self._new_until = None if created_us is None else created_us + NEW_FOR_DAYS * US_PER_DAY
        self._start = user_starts(interactions)
        share = np.bincount(interactions.row, minlength=items) / max(len(interactions), 1)
        thinning = np.sqrt(np.minimum(1.0, subsample_share / np.maximum(share, 1e-12)))
        weight = type_weights[interactions.event_type] * thinning[interactions.row]
        weight = weight * first_of_pair(interactions, items)
        targets = np.flatnonzero(weight > 0)
        self._targets = targets[np.argsort(interactions.timestamp_us[targets], kind="stable")]
        self._target_moments = interactions.timestamp_us[self._targets]
        self._target_weight = weight
        last = int(interactions.timestamp_us.max()) if len(interactions) else 0
        self._moments = (first_moment_us, last - LAST_MOMENT_DAYS * US_PER_DAY)
        if self._moments[0] >= self._moments[1]:
            raise TrainingError(
                f"The events span too little time to learn from: training wants moments with "
                f"enough events on both sides, and the data ends {LAST_MOMENT_DAYS} days or less "
                f"after the first of them. Ingest a longer period."
            )

    def sample(self, rng: np.random.Generator) -> Batch:
        """A batch at a random moment."""
        for _ in range(100):
            moment = int(rng.integers(*self._moments))
            pool = self._pool(moment)
            if len(np.unique(self._events.user[pool])) > 1:
                return self._batch(rng, moment, pool)
        raise TrainingError(
            "No moment was found at which two shoppers had a history and turned to something new "
            f"in the {HORIZON_DAYS} days after. Ingest more events."
        )

    def _pool(self, moment: int) -> NDArray[np.int64]:
        """Events that may be positives at the moment, of shoppers with a history before it."""
        low, high = np.searchsorted(
            self._target_moments, [moment, moment + HORIZON_DAYS * US_PER_DAY]
        )
        pool = self._targets[low:high]
        pool = pool[np.argsort(pool)]  # events are sorted by user
        user = self._events.user[pool]
        return pool[self._ends(np.unique(user), moment, spread_to=user) >= MIN_EVENTS]

    def _ends(
        self, users: NDArray[np.int32], moment: int, spread_to: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Number of events before the moment of each user in `spread_to` (all among `users`)."""
        counts = np.zeros(len(self._events.user_ids), np.int64)
        counts[users] = self._history_end(users, moment) - self._start[users]
        return counts[spread_to]

    def _history_end(self, users: NDArray[np.int32], moment: int) -> NDArray[np.int64]:
        """Position just behind each user's last event strictly before the moment."""
        low, high = self._start[users].copy(), self._start[users + 1].copy()
        times = self._events.timestamp_us
        while (low < high).any():  # a binary search in all users' slices at once
            middle = (low + high) // 2
            before = (times[np.minimum(middle, len(times) - 1)] < moment) & (low < high)
            low = np.where(before, middle + 1, low)
            high = np.where(before, high, np.minimum(middle, high))
        return low

    def _batch(self, rng: np.random.Generator, moment: int, pool: NDArray[np.int64]) -> Batch:
        users, first = np.unique(self._events.user[pool], return_index=True)
        cumulative = np.concatenate([[0.0], np.cumsum(self._target_weight[pool])])
        low, high = cumulative[first], cumulative[np.r_[first[1:], len(pool)]]
        chosen = rng.choice(len(users), size=min(self._users, len(users)), replace=False)
        mass = (high - low)[chosen]
        draws = rng.random((len(chosen), self._positives)) * mass[:, None]
        drawn = np.searchsorted(cumulative, low[chosen][:, None] + draws, side="right")
        positives = self._events.row[pool[np.clip(drawn - 1, 0, len(pool) - 1)]].astype(np.int64)

        popularity = self._popularity.at(moment)
        current = np.expm1(popularity[:, FOUR_WEEKS].astype(np.float64))
        unseen = np.full(self._items, UNSEEN_SHARE)
        if self._new_until is not None:
            new = self._new_until > moment
            unseen[new] = UNSEEN_SHARE if new.all() else 0.0
        negative_share = (current + unseen) ** NEGATIVE_POWER
        negative_share /= negative_share.sum()
        negatives = np.searchsorted(
            np.cumsum(negative_share), rng.random(SAMPLED_NEGATIVES), side="right"
        )
        negatives = np.minimum(negatives, self._items - 1)
        candidates, position = np.unique(
            np.concatenate([positives.ravel(), negatives]), return_inverse=True
        )
        position = position[: positives.size].reshape(positives.shape)
        weights = np.sqrt(mass)
        return Batch(
            moment_us=moment,
            histories=self._histories(rng, users[chosen], moment),
            candidates=candidates,
            log_q=self._log_inclusion(
                pool,
                np.repeat(high - low, np.diff(np.r_[first, len(pool)])),
                negative_share,
                candidates,
                positives.size,
            ),
            positives=position,
            excluded=self._met_before(users[chosen], moment, candidates, position),
            weights=(weights / weights.mean()).astype(np.float32),
            popularity=popularity,
        )

    def _log_inclusion(
        self,
        pool: NDArray[np.int64],
        mass: NDArray[np.float64],
        negative_share: NDArray[np.float64],
        candidates: NDArray[np.int64],
        positives: int,
    ) -> NDArray[np.float32]:
        """ln(1 − (1 − p)^positives · (1 − n)^negatives): p, n are an item's chance to be drawn as
        a given positive and as a given negative.

        mass [pool]: weight of all targets of the shopper whose target it is, who is drawn first.
        """
        share = np.bincount(
            self._events.row[pool], weights=self._target_weight[pool] / mass, minlength=self._items
        )
        chance = np.minimum(share[candidates] / share.sum(), 0.5)
        missing = positives * np.log1p(-chance)
        missing += SAMPLED_NEGATIVES * np.log1p(-negative_share[candidates])
        log_inclusion: NDArray[np.float32] = np.log(-np.expm1(missing)).astype(np.float32)
        return log_inclusion

    def _histories(
        self, rng: np.random.Generator, users: NDArray[np.int32], moment: int
    ) -> EncodedBatch:
        """The newest events of each user before the moment, some hidden, padded on the right."""
        end = self._history_end(users, moment)
        length = np.minimum(end - self._start[users], self._max_history)
        positions, mask = thinned(*spans(end - length, length), self._history_dropout, rng)
        return encode_events(self._events, positions, mask)

    def _met_before(
        self,
        users: NDArray[np.int32],
        moment: int,
        candidates: NDArray[np.int64],
        positives: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """bool [B, C]: the shopper met the item before the moment."""
        column = np.full(self._items, -1)
        column[candidates] = np.arange(len(candidates))
        begin, end = self._start[users], self._history_end(users, moment)
        positions, mask = spans(begin, end - begin)
        shopper = np.broadcast_to(np.arange(len(users))[:, None], mask.shape)[mask]
        met = column[self._events.row[positions[mask]]]
        excluded = np.zeros((len(users), len(candidates)), np.bool_)
        excluded[shopper[met >= 0], met[met >= 0]] = True
        np.put_along_axis(excluded, positives, values=False, axis=1)
        return excluded


def user_starts(interactions: Interactions) -> NDArray[np.int64]:
    """Where each user's events begin, and the end of the last one's: int64 [users + 1]."""
    return np.searchsorted(interactions.user, np.arange(len(interactions.user_ids) + 1))


def newest_histories(
    interactions: Interactions, users: NDArray[np.int64], max_history: int
) -> EncodedBatch:
    """The newest `max_history` events of each of the users, as the request path would see them."""
    start = user_starts(interactions)
    length = np.minimum(start[users + 1] - start[users], max_history)
    return encode_events(interactions, *spans(start[users + 1] - length, length))


def encode_events(
    interactions: Interactions,
    positions: NDArray[np.int64],
    mask: NDArray[np.bool_],
    *,
    max_age_days: float = MAX_AGE_DAYS,
) -> EncodedBatch:
    """Events at `positions` [B, L], oldest first, as the user tower's input."""
    newest = np.take_along_axis(positions, mask.sum(1, keepdims=True) - 1, 1)
    moments = interactions.timestamp_us
    days = age_days(moments[newest], moments[positions], max_age_days)
    return EncodedBatch(
        rows=np.where(mask, interactions.row[positions], 0).astype(np.int64),
        event_types=np.where(mask, interactions.event_type[positions], 0).astype(np.int64),
        days=np.where(mask, days, np.float32(0)),
        mask=mask,
    )


def spans(
    begin: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions begin … begin + length − 1 of each row, int64 [B, L], and which are real."""
    place = np.arange(max(int(length.max(initial=1)), 1))
    mask = place < length[:, None]
    return np.where(mask, begin[:, None] + place, begin[:, None]), mask


def thinned(
    positions: NDArray[np.int64],
    mask: NDArray[np.bool_],
    history_dropout: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Hide a share of each row's events, drawn between 0 and 2 · history_dropout, but the last.

    Hidden events leave no gap: the real ones are moved together, in their order. positions int64
    [B, L] and mask bool [B, L]: those of `spans`, and what is returned.
    """
    share = rng.random((len(positions), 1)) * 2 * history_dropout
    last = np.arange(mask.shape[1]) == mask.sum(1, keepdims=True) - 1
    kept = mask & (last | (rng.random(mask.shape) >= share))
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(positions, order, 1), np.take_along_axis(kept, order, 1)
