"""How the past is cut from the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.sequences import Interactions, load_interactions
from vitrina.settings import Settings
from vitrina.towers.factors import met_matrix
from vitrina.towers.moments import user_starts
from vitrina.towers.run import TrainingData, load_training_data


@dataclass(frozen=True, slots=True)
class GlobalTimeSplit:
    """Everything before one moment trains, the days after it test, for all shoppers alike.

    No shopper's and no item's future is known to anything that is fitted (Meng et al.,
    "Exploring Data Splitting Strategies", RecSys 2020). All items are ranked for each shopper;
    there are no sampled metrics (Krichene and Rendle, KDD 2020).

    data: what the towers learnt from. users int64 [B]: the shoppers judged, those with events on
    both sides. targets [B, items]: non-zero where the shopper turned to the item in the test
    days; new [B, items]: the same without items met before the cut. met [B, items]. newcomers
    [N, items]: the targets of shoppers without any event before the cut, who are judged apart.
    """

    data: TrainingData
    users: NDArray[np.int64]
    targets: sp.csr_matrix
    new: sp.csr_matrix
    met: sp.csr_matrix
    newcomers: sp.csr_matrix

    @property
    def known_events(self) -> NDArray[np.int64]:
        """How many events each of the shoppers judged has before the cut, [B]."""
        events = self.data.interactions
        return np.bincount(events.user, minlength=len(events.user_ids))[self.users]


def global_time(settings: Settings) -> GlobalTimeSplit:
    """Read the split from the lake. Raises DataError when there is nobody to test on."""
    data = load_training_data(settings)
    items = len(data.catalog)
    until = load_interactions(
        settings.paths.lake,
        before_us=data.split.until_us,
        item_ids=data.catalog.item_ids,
        event_types=data.event_types,
    )
    position = {user_id: place for place, user_id in enumerate(data.interactions.user_ids)}
    known = np.array([position.get(user_id, -1) for user_id in until.user_ids], np.int64)
    test = data.split.is_test(until.timestamp_us)
    test &= data.type_weights[until.event_type] > 0
    wanted, new_here = test & (known[until.user] >= 0), test & (known[until.user] < 0)
    targets = _met(
        known[until.user[wanted]], until.row[wanted], len(data.interactions.user_ids), items
    )
    which, newcomer = np.unique(until.user[new_here], return_inverse=True)
    newcomers = _met(newcomer, until.row[new_here], len(which), items)
    users = np.flatnonzero(np.diff(targets.indptr) > 0)
    if not len(users):
        raise DataError(
            "Nobody has events both before and after the cut, so there is nobody to test on. Set "
            "'cut' or 'test_days' in [evaluate] of vitrina.toml."
        )
    targets, met = targets[users], met_matrix(data.interactions, items)[users]
    new = targets - targets.multiply(met)
    new.eliminate_zeros()
    return GlobalTimeSplit(data, users, targets, new.tocsr(), met, newcomers)


def _met(user: NDArray[np.int64], row: NDArray[np.int32], users: int, items: int) -> sp.csr_matrix:
    """1 where a shopper turned to an item, however often, [users, items]."""
    matrix = sp.csr_matrix((np.ones(len(user), np.float32), (user, row)), shape=(users, items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Each shopper's last event is to be predicted from all before it.

    What papers on sequential recommendation report (Kang and McAuley, ICDM 2018, section 4.1), and
    not what a shop can expect: others' events of after the moment of prediction are known to the
    model, so its figures only compare with each other. All items are ranked but those the shopper
    has met; shoppers whose item nobody has met in training are left out.

    train: the events that everything is fitted on. users int64 [B]: the shoppers judged. targets
    [B, items]: non-zero at the one item. met [B, items]: met in training.
    """

    train: Interactions
    users: NDArray[np.int64]
    targets: sp.csr_matrix
    met: sp.csr_matrix


def leave_one_out(interactions: Interactions, items: int, *, hold: int = 1) -> LeaveOneOut:
    """Cut the last `hold` events off each sequence, and ask for the first of them.

    hold: 1 for the test; 2 for the validation that everything is chosen by, which does not see the
    test events. Raises DataError when there is nobody to test on.
    """
    start = user_starts(interactions)
    left = np.maximum(np.diff(start) - hold, 0)
    place = np.arange(len(interactions)) - start[interactions.user]
    train = interactions.where(place < left[interactions.user])
    asked = np.flatnonzero(left > 0)
    target = interactions.row[start[asked] + left[asked]]
    warm = np.bincount(train.row, minlength=items)[target] > 0
    users, target = asked[warm], target[warm]
    if not len(users):
        raise DataError(
            f"No shopper has more than {hold} events, the last of them with an item that others "
            f"have met, too: there is nobody to test on."
        )
    ones = np.ones(len(users), np.float32)
    targets = sp.csr_matrix((ones, (np.arange(len(users)), target)), (len(users), items))
    return LeaveOneOut(train, users, targets, met_matrix(train, items)[users])
