"""Collaborative factors: who bought what, as a vector an item, to start the item tower from."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vitrina.errors import MissingExtra
from vitrina.lake.sequences import Interactions

REGULARISATION = 10.0
ALPHA = 5.0
ITERATIONS = 10


def item_factors(
    interactions: Interactions, items: int, dim: int, *, seed: int
) -> NDArray[np.float32]:
    """Item factors float32 [items, dim].

    Implicit-feedback alternating least squares on "met or not" (Hu, Koren, Volinsky, ICDM 2008),
    scaled so that an item with many shoppers has length about 1; an item without events is zero.

    The factors have seen the events that training asks for, so the towers come to trust them more
    than an unseen future deserves; `user_tower.TowardsCentre` takes that back when training ends.
    """
    try:
        from implicit.als import AlternatingLeastSquares
    except ImportError as error:
        raise MissingExtra("implicit", "train") from error
    matrix = met_matrix(interactions, items)
    with threadpool_limits(1, "blas"):  # its own threads and the library's would fight
        model = AlternatingLeastSquares(
            factors=dim,
            regularization=REGULARISATION,
            alpha=ALPHA,
            iterations=ITERATIONS,
            random_state=seed,
            use_gpu=False,
        )
        model.fit(matrix, show_progress=False)
    factors: NDArray[np.float32] = np.array(model.item_factors, np.float32)
    factors[np.diff(matrix.tocsc().indptr) == 0] = 0.0
    lengths = np.linalg.norm(factors, axis=1)
    longest = np.quantile(lengths[lengths > 0], 0.99) if lengths.any() else 1.0
    return factors / np.float32(longest)


def met_matrix(interactions: Interactions, items: int) -> sp.csr_matrix:
    """1 where a shopper met an item: float32 [users, items]."""
    matrix = sp.csr_matrix(
        (np.ones(len(interactions), np.float32), (interactions.user, interactions.row)),
        shape=(len(interactions.user_ids), items),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
