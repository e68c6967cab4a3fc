"""How well retrieval does while training goes on: a few shoppers are asked what they did next.

Of a sample of shoppers, the newest events are held out of training altogether; at every look,
all items they had not met are ranked for each of them, from their history before those events,
and the share of what they turned to among the first is averaged. With `next_item`, a shopper's
last moment is held out. With `discoveries`, everything of the last HORIZON_DAYS is, so that
shoppers are judged as `vitrina evaluate` judges them: popularity, too, is that of the moment. The
others' events of those days are learnt from all the while. So the figure says which weights are
better, and not what a shop can expect; that is measured after the cut alone.

The sample goes by the shoppers' ids: it is the same in every run, so that a warm start is not
asked for what the weights it begins with have learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from vitrina.lake.sequences import Interactions
from vitrina.settings import TrainSettings
from vitrina.towers.encode import user_vectors
from vitrina.towers.factors import met_matrix
from vitrina.towers.features import PopularityFeatures, first_of_pair
from vitrina.towers.moments import HORIZON_DAYS, US_PER_DAY, user_starts
from vitrina.towers.training import TwoTowers, Validation

MOST_SHOPPERS: Final = 2000
LARGEST_SHARE: Final = 0.2
"""Of all shoppers, about so many are asked at most: their newest events are not learnt from."""
LEAST_SHOPPERS: Final = 100
"""The mean over fewer says too little to stop by; there is no validation then."""
EVERY: Final = {"next_item": 100, "discoveries": 0}
DEPTH: Final = {"next_item": 10, "discoveries": 100}
"""A shopper's next item is one; in two weeks, many buy dozens of things for the first time."""
SCORES_AT_ONCE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class HeldOut:
    """B shoppers whose newest events are not trained on.

    train: all other events; the newest of shoppers who would be asked, but have too short a history
    yet, are held out, too. past: those of the shoppers asked. users int64 [B]. targets [B, items]:
    non-zero where the shopper turned to an item, for the first time, in the events held out. met
    [B, items]: non-zero where they had met it before. popularity float32 [items, features]: as of
    the moment, if the item tower asks for it. depth: length of the lists.
    """

    train: Interactions
    past: Interactions
    users: NDArray[np.int64]
    targets: sp.csr_matrix
    met: sp.csr_matrix
    popularity: NDArray[np.float32] | None
    depth: int
    max_history: int

    @property
    def metric(self) -> str:
        return f"recall@{self.depth}"

    def validation(self, settings: TrainSettings) -> Validation:
        """As `fit` takes it."""
        return Validation(self.measure, steps_between(settings), settings.patience)

    def measure(self, towers: TwoTowers) -> float:
        """Mean share of a shopper's targets among the `depth` nearest items they had not met."""
        vectors = towers.item.embed_catalog(self.popularity)
        asked = user_vectors(towers.user, vectors, self.past, self.users, self.max_history)
        depth, size = min(self.depth, len(vectors)), max(1, SCORES_AT_ONCE // len(vectors))
        found = np.zeros(len(asked))
        for start in range(0, len(asked), size):
            chunk = slice(start, start + size)
            scores = asked[chunk] @ vectors.T
            scores[self.met[chunk].nonzero()] = -np.inf
            nearest = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            hits = self.targets[np.arange(len(asked))[chunk, None], nearest]
            found[chunk] = np.asarray(hits.sum(axis=1)).ravel()
        return float((found / np.diff(self.targets.indptr)).mean())


def steps_between(settings: TrainSettings) -> int:
    """Steps from one look to the next, 0 for none."""
    asked = settings.validation_every
    return EVERY[settings.objective] if asked is None else asked


def hold_out(
    interactions: Interactions,
    items: int,
    type_weights: NDArray[np.float32],
    settings: TrainSettings,
) -> HeldOut | None:
    """Hold the newest events of a sample of shoppers out; None if the settings ask for none.

    None, too, where there are fewer than LEAST_SHOPPERS to judge: who have a history, and then
    turned to something new. type_weights float32 [types]: events of weight 0 are no targets.
    """
    if not steps_between(settings):
        return None
    last = int(interactions.timestamp_us.max())
    moment = last + 1 - HORIZON_DAYS * US_PER_DAY
    if settings.objective == "discoveries":
        later = interactions.timestamp_us >= moment
    else:
        end = np.maximum(user_starts(interactions)[1:] - 1, 0)
        later = interactions.timestamp_us == interactions.timestamp_us[end][interactions.user]
    wanted = later & first_of_pair(interactions, items)
    wanted &= type_weights[interactions.event_type] > 0
    shoppers = len(interactions.user_ids)
    before = np.bincount(interactions.user[~later], minlength=shoppers)
    asked = np.bincount(interactions.user[wanted], minlength=shoppers)
    # The bound depends on the number of shoppers alone, so it hardly ever rises: who is within it
    # today was within it, and held out, when the weights of a warm start were trained.
    bound = min(LARGEST_SHARE, MOST_SHOPPERS / shoppers)
    within = _places(interactions.user_ids) < bound
    users = np.flatnonzero(within & (before > 0) & (asked > 0))
    if len(users) < LEAST_SHOPPERS:
        return None
    place = np.full(shoppers, -1)
    place[users] = np.arange(len(users))
    wanted &= place[interactions.user] >= 0
    train = interactions.where(~(later & within[interactions.user]))
    past = train.where(within[train.user])
    targets = sp.csr_matrix(
        (
            np.ones(int(wanted.sum()), np.float32),
            (place[interactions.user[wanted]], interactions.row[wanted]),
        ),
        (len(users), items),
    )
    popularity = None
    if settings.objective == "discoveries":
        known = train.where(train.timestamp_us < moment)
        popularity = PopularityFeatures(known, items).at(moment)
    return HeldOut(
        train=train,
        past=past,
        users=users,
        targets=targets,
        met=met_matrix(past, items)[users],
        popularity=popularity,
        depth=DEPTH[settings.objective],
        max_history=settings.max_history,
    )


def _places(ids: Sequence[str]) -> NDArray[np.float64]:
    """Where each id lies between 0 and 1, as if by chance, and always at the same place."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in ids)
    return np.fromiter((int.from_bytes(digest) / 2**64 for digest in digests), float, len(ids))
