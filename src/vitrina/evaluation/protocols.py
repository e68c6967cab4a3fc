"""How the past is cut from the future."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.sequences import load_interactions
from vitrina.settings import Settings
from vitrina.towers.factors import met_matrix
from vitrina.towers.run import TrainingData, load_training_data


@dataclass(frozen=True, slots=True)
class GlobalTimeSplit:
    """Everything before one moment trains, the days after it test, for all shoppers alike.

    No shopper's and no item's future is known to anything that is fitted (Meng et al.,
    "Exploring Data Splitting Strategies", RecSys 2020). All items are ranked for each shopper;
    there are no sampled metrics (Krichene and Rendle, KDD 2020).

    data: what the towers learnt from. users int64 [B]: the shoppers judged, those with events on
    both sides. targets [B, items]: non-zero where the shopper turned to the item in the test
    days; new [B, items]: the same without items met before the cut. met [B, items].
    """

    data: TrainingData
    users: NDArray[np.int64]
    targets: sp.csr_matrix
    new: sp.csr_matrix
    met: sp.csr_matrix


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
    wanted = data.split.is_test(until.timestamp_us)
    wanted &= (known[until.user] >= 0) & (data.type_weights[until.event_type] > 0)
    targets = sp.csr_matrix(
        (np.ones(int(wanted.sum()), np.float32), (known[until.user[wanted]], until.row[wanted])),
        shape=(len(data.interactions.user_ids), items),
    )
    targets.sum_duplicates()
    targets.data[:] = 1.0
    users = np.flatnonzero(np.diff(targets.indptr) > 0)
    if not len(users):
        raise DataError(
            "Nobody has events both before and after the cut, so there is nobody to test on. Set "
            "'cut' or 'test_days' in [evaluate] of vitrina.toml."
        )
    targets, met = targets[users], met_matrix(data.interactions, items)[users]
    new = targets - targets.multiply(met)
    new.eliminate_zeros()
    return GlobalTimeSplit(data, users, targets, new.tocsr(), met)
