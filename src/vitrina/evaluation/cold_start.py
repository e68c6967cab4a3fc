"""What the model makes of items that nobody has met, and of shoppers with next to no history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.sequences import Interactions
from vitrina.towers.factors import met_matrix
from vitrina.towers.features import first_of_pair
from vitrina.towers.moments import user_starts

FOLDS: Final = 5
"""A fifth of the items is held out at a time."""
FOLD_SEED: Final = 20_17

NEWCOMERS: Final = "0"
LENGTHS: Final = {NEWCOMERS: (0, 0), "1": (1, 1), "2": (2, 2), "3–5": (3, 5), "6+": (6, None)}
"""Groups of shoppers by the number of events they are known by, both ends included."""


@dataclass(frozen=True, slots=True)
class ColdItems:
    """Items held out of training altogether are to be found among all items.

    The item cold start of Volkovs et al. ("DropoutNet", NeurIPS 2017, section 5), asked at each
    event: whenever a shopper turns to a held-out item for the first time, that item is the target
    of the events strictly before it. All items are ranked but those in that history. As in
    leave-one-out, others' later events (with items that are not held out) are known to the model.

    held bool [items]. train: the events with all other items. histories: the events before each of
    B targets, without held-out items, one shopper a target; a shopper may have none. targets
    [B, items]: non-zero at the one item. met [B, items]: the items in the history.
    """

    held: NDArray[np.bool_]
    train: Interactions
    histories: Interactions
    targets: sp.csr_matrix
    met: sp.csr_matrix


def cold_items(interactions: Interactions, items: int, *, fold: int = 0) -> ColdItems:
    """Hold out the items of a fold, a fifth of all; which ones depends on `items` alone.

    To choose settings, hold out another fold of `train`: what is tested then stays unseen. Raises
    DataError when nobody turns to a held-out item, or nobody to any other.
    """
    place = np.random.default_rng(FOLD_SEED).permutation(items)
    held = place % FOLDS == fold
    cold = held[interactions.row]
    asked = np.flatnonzero(cold & first_of_pair(interactions, items))
    if not len(asked) or cold.all():
        raise DataError(
            f"Of {len(interactions)} events, {int(cold.sum())} are with the items of fold {fold}, "
            f"which are held out. A test needs some of those and some others."
        )
    known, histories = interactions.where(~cold), _histories(interactions, asked, ~cold)
    target = interactions.row[asked]
    ones = np.ones(len(asked), np.float32)
    targets = sp.csr_matrix((ones, (np.arange(len(asked)), target)), (len(asked), items))
    return ColdItems(held, known, histories, targets, met_matrix(histories, items))


def _histories(
    interactions: Interactions, asked: NDArray[np.int64], kept: NDArray[np.bool_]
) -> Interactions:
    """The kept events strictly before each of the events at `asked` [B], one shopper for each."""
    user, moment = interactions.user, interactions.timestamp_us
    another = np.ones(len(interactions), np.bool_)
    another[1:] = (user[1:] != user[:-1]) | (moment[1:] > moment[:-1])
    # Events at one and the same moment are not each other's past, in whatever order they are.
    end = np.maximum.accumulate(np.where(another, np.arange(len(interactions)), 0))[asked]
    begin = user_starts(interactions)[user[asked]]
    length = end - begin
    shopper = np.repeat(np.arange(len(asked)), length)
    position = np.arange(len(shopper)) + np.repeat(begin - (np.cumsum(length) - length), length)
    wanted = kept[position]
    shopper, position = shopper[wanted], position[wanted]
    return Interactions(
        user=shopper.astype(np.int32),
        row=interactions.row[position],
        event_type=interactions.event_type[position],
        timestamp_us=interactions.timestamp_us[position],
        session=interactions.session[position],
        user_ids=[str(number) for number in range(len(asked))],
    )


def by_length(lengths: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Which shoppers are in each group of LENGTHS. lengths int64 [B]: their numbers of events."""
    return {
        name: (lengths >= least) & (lengths <= (np.inf if most is None else most))
        for name, (least, most) in LENGTHS.items()
    }
