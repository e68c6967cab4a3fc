"""Fitting the ranker's scales: what a source's score says about the odds of a purchase.

Both models look at the world as of a moment two weeks before the end of the training data and
learn from what happened in those weeks, so neither sees the test period.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.rank.logistic import fit_logistic
from vitrina.rank.ranker import DiscoveryModel
from vitrina.rank.repurchase import RepurchaseModel, repeat_rates, repurchase_features
from vitrina.schema import RECENT_DAYS
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY, user_starts

POPULARITY_HALF_LIFE_DAYS = 28.0
"""Of the popularity that the bundle carries: an event this old counts half."""

CALIBRATION_USERS = 500
CALIBRATION_CANDIDATES = 200


def before(interactions: Interactions, moment_us: int) -> Interactions:
    """The events strictly before a moment; users keep their numbers."""
    return interactions.where(interactions.timestamp_us < moment_us)


def item_repeat_rates(interactions: Interactions, items: int, purchase: int) -> NDArray[np.float32]:
    """`rank.repurchase.repeat_rates` of each item, from events of the type code `purchase`."""
    pairs = _purchase_pairs(interactions, items, purchase)
    buyers = np.bincount(pairs.row, minlength=items)
    again = np.bincount(pairs.row[pairs.counts > 1], minlength=items)
    return repeat_rates(buyers, again)


def fit_repurchase(interactions: Interactions, items: int, purchase: int) -> RepurchaseModel:
    """The repurchase model, or its defaults where nobody buys anything twice."""
    moment = int(interactions.timestamp_us.max()) + 1 - HORIZON_DAYS * US_PER_DAY
    past = before(interactions, moment)
    pairs = _purchase_pairs(past, items, purchase)
    if not len(pairs.row):
        return RepurchaseModel()
    newest = np.zeros(len(interactions.user_ids), np.int64)
    np.maximum.at(newest, past.user, past.timestamp_us)
    features = repurchase_features(
        pairs.counts,
        pairs.recent,
        pairs.last_us,
        newest[pairs.user],
        item_repeat_rates(past, items, purchase)[pairs.row],
    )
    labels = np.isin(
        pairs.user * items + pairs.row, _bought_since(interactions, items, purchase, moment)
    )
    try:
        bias, count, recent, repeat = fit_logistic(features, labels)
    except TrainingError:  # a shop whose goods are bought once
        return RepurchaseModel()
    return RepurchaseModel(bias, count, recent, repeat)


def fit_discovery(
    interactions: Interactions,
    users: NDArray[np.int64],
    user_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    moment_us: int,
) -> DiscoveryModel:
    """The discovery model, from the nearest items that some shoppers had not met at the moment.

    users int64 [B] and their vectors float32 [B, dim] as of moment_us; item_vectors [items, dim].
    """
    items = len(item_vectors)
    scores = user_vectors @ item_vectors.T
    past = before(interactions, moment_us)
    start = user_starts(past)
    for place, user in enumerate(users):
        scores[place, past.row[start[user] : start[user + 1]]] = -np.inf
    count = min(CALIBRATION_CANDIDATES, items)
    nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    found = np.take_along_axis(scores, nearest, 1)
    real = np.isfinite(found)
    chosen = interactions.where(interactions.timestamp_us >= moment_us)
    met_since = np.unique(chosen.user.astype(np.int64) * items + chosen.row)
    labels = np.isin(users[:, None] * items + nearest, met_since)[real]
    try:
        bias, score = fit_logistic(found[real][:, None], labels)
    except TrainingError:  # nobody turned to anything retrieved: too few shoppers to say
        return DiscoveryModel()
    # Towers trained for seconds may score at random; the order of their scores is kept even so.
    return DiscoveryModel(bias, score) if score > 0 else DiscoveryModel()


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Distinct (user, item) pairs with how often and how lately: columns of one length."""

    user: NDArray[np.int64]
    row: NDArray[np.int64]
    counts: NDArray[np.int64]
    last_us: NDArray[np.int64]
    recent: NDArray[np.float32]


def _purchase_pairs(interactions: Interactions, items: int, purchase: int) -> _Pairs:
    """What `schema.Purchases` says, for every shopper at once."""
    bought = interactions.where(interactions.event_type == purchase)
    pair = bought.user.astype(np.int64) * items + bought.row
    order = np.lexsort((bought.timestamp_us, pair))
    times = bought.timestamp_us[order]
    keys, first, counts = np.unique(pair[order], return_index=True, return_counts=True)
    last = times[first + counts - 1] if len(keys) else times
    age_days = (np.repeat(last, counts) - times) / US_PER_DAY
    which = np.repeat(np.arange(len(keys)), counts)
    recent = np.bincount(which, np.exp(-age_days / RECENT_DAYS), minlength=len(keys))
    return _Pairs(keys // items, keys % items, counts, last, recent.astype(np.float32))


def _bought_since(
    interactions: Interactions, items: int, purchase: int, moment_us: int
) -> NDArray[np.int64]:
    """Codes user · items + row of the pairs bought at or after a moment."""
    chosen = (interactions.timestamp_us >= moment_us) & (interactions.event_type == purchase)
    return np.unique(interactions.user[chosen].astype(np.int64) * items + interactions.row[chosen])
