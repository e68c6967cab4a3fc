"""Shoppers' vectors, many at once, from the trained user tower."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vitrina.lake.sequences import Interactions
from vitrina.towers.device import device_of
from vitrina.towers.moments import newest_histories, user_starts
from vitrina.towers.objectives import tensor, tower_inputs

ENCODE_USERS: Final = 256


def user_vectors(
    encoder: nn.Module,
    vectors: NDArray[np.float32],
    interactions: Interactions,
    users: NDArray[np.int64],
    max_history: int,
) -> NDArray[np.float32]:
    """Unit vectors float32 [B, dim] of B shoppers after their newest event.

    vectors float32 [items, dim]: the catalog's.
    """
    on = device_of(encoder)
    items, found = tensor(vectors, on), np.empty((len(users), vectors.shape[1]), np.float32)
    # Histories of like length share a chunk.
    order = np.argsort(np.diff(user_starts(interactions))[users], kind="stable")
    with torch.no_grad():
        for chunk in np.split(order, np.arange(ENCODE_USERS, len(order), ENCODE_USERS)):
            batch = newest_histories(interactions, users[chunk], max_history)
            history = items[tensor(batch.rows, on)]
            found[chunk] = encoder(history, *tower_inputs(batch, on)).cpu().numpy()
    return found
