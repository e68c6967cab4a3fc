"""Which items are met in the same visits: lists to show when there is no index to ask."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import scipy.sparse as sp
from implicit.nearest_neighbours import CosineRecommender
from numpy.typing import NDArray

from vitrina.lake.sequences import Interactions

NEIGHBOURS: Final = 8
"""Items listed for each item; at four bytes each, an eighth of a vector of 64 numbers."""


def covisited(
    interactions: Interactions, items: int, neighbours: int = NEIGHBOURS
) -> NDArray[np.int32]:
    """The items met most in the same sessions as each item: rows int32 [items, neighbours].

    Best first by the cosine of "met in a session or not" (Deshpande and Karypis, TOIS 2004), which
    keeps what is met everywhere from being near everything; -1 after the last. Sessions of one
    item alone say nothing.
    """
    sessions = int(interactions.session.max(initial=-1)) + 1
    met = sp.csr_matrix(
        (np.ones(len(interactions), np.float32), (interactions.session, interactions.row)),
        shape=(sessions, items),
    )
    met.sum_duplicates()
    met.data[:] = 1.0
    model = CosineRecommender(K=neighbours + 1)  # an item is nearest to itself
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's note on a matrix of its own making
        model.fit(met, show_progress=False)
    found = model.similarity.tocoo()
    other = (found.row != found.col) & (found.data > 0)
    row, near, score = found.row[other], found.col[other], found.data[other]
    order = np.lexsort((near, -score, row))
    row, near = row[order], near[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    listed = place < neighbours
    lists = np.full((items, neighbours), -1, np.int32)
    lists[row[listed], place[listed]] = near[listed]
    return lists
