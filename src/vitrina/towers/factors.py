"""Collaborative factors: who bought what, as a vector an item, to start the item tower from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse.linalg import LinearOperator, eigsh

from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions

HEAD_ITEMS: Final = 6000
"""EASE inverts an item-item matrix; the items beyond the most met ones are projected onto it."""
GRAM_ROWS: Final = 256
"""Of the item-item matrix that are in memory twice, sparse and dense, at a time."""
RIDGE: Final = 1000.0
LEAST_STRENGTH: Final = 1e-3
"""Components weaker than this share of the strongest are noise of the decomposition."""


@dataclass(frozen=True, slots=True)
class Ease:
    """Item-item regression weights of a closed form, over the most met items.

    head int64 [h]: their rows, the most met first. weights float32 [h, h], zero diagonal: a
    shopper's scores are the sum of the weight rows of what they met.
    """

    head: NDArray[np.int64]
    weights: NDArray[np.float32]


def ease(matrix: sp.csr_matrix, *, ridge: float = RIDGE, head_items: int = HEAD_ITEMS) -> Ease:
    """EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8).

    matrix [users, items]: `met_matrix`. ridge: how strongly weights are drawn to zero. head_items:
    how many items have weights. Takes 4 · head_items² bytes and head_items³ time at most.
    """
    met = np.diff(matrix.tocsc().indptr)
    head = np.argsort(-met, kind="stable")[:head_items]
    head = head[met[head] > 0]
    weights = _inverse(_gram(matrix[:, head], ridge))
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return Ease(head, weights)


def _gram(columns: sp.csr_matrix, ridge: float) -> NDArray[np.float32]:
    """columnsᵀ · columns + ridge · I, [h, h], rows together in memory.

    A part of the rows at a time: where most pairs of items were met by somebody, the sparse product
    takes twice the memory of the dense one.
    """
    count = columns.shape[1]
    gram = np.empty((count, count), np.float32)
    turned = columns.T.tocsr()
    for start in range(0, count, GRAM_ROWS):
        part = slice(start, start + GRAM_ROWS)
        (turned[part] @ columns).toarray(out=gram[part])
    gram[np.diag_indices_from(gram)] += ridge
    return gram


def _inverse(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of a symmetric positive definite matrix [h, h], which is overwritten.

    By Cholesky, in less than half the time and memory of an inverse of any matrix. Raises
    TrainingError when it is not positive definite in float32.
    """
    # LAPACK keeps columns together: its upper triangle is the lower one of ours.
    factor, failed = spotrf(matrix.T, lower=0, overwrite_a=1)
    if failed:
        raise TrainingError(
            f"The item-item matrix of EASE cannot be inverted in float32 (row {failed}). Use a "
            f"larger ridge."
        )
    inverse, _ = spotri(factor, lower=0, overwrite_c=1)
    lower: NDArray[np.float32] = inverse.T
    for row in range(1, len(lower)):
        lower[:row, row] = lower[row, :row]
    return lower


def item_factors(
    interactions: Interactions, items: int, dim: int, *, head_items: int = HEAD_ITEMS
) -> NDArray[np.float32]:
    """Item factors float32 [items, dim], an item with many shoppers having length about 1.

    The right singular vectors, each scaled by the root of its singular value, of the scores that
    EASE gives every shopper; items beyond its head are projected onto the shoppers' side of the
    same decomposition. An item without events is zero. EASE predicts each item from the others
    alone, so an item's own purchase does not speak for itself here, as it does in a factorisation
    of the purchases; the factors remember less of the events that training asks for.
    """
    matrix = met_matrix(interactions, items)
    model = ease(matrix, head_items=head_items)
    factors = np.zeros((items, dim), np.float32)
    columns, rank = matrix[:, model.head], min(dim, len(model.head) - 1)
    if rank < 1:
        return factors

    def score_gram(vector: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = columns @ (model.weights @ vector)
        product: NDArray[np.float32] = model.weights.T @ (columns.T @ scores)
        return product

    shape = (len(model.head), len(model.head))
    squares, right = eigsh(
        LinearOperator(shape, matvec=score_gram, dtype=np.float32),
        k=rank,
        v0=np.ones(len(model.head), np.float32),
    )
    strength = np.sqrt(np.maximum(squares, 0.0))
    real = strength > LEAST_STRENGTH * strength.max()
    strength, right = strength[real], signed(right[:, real])
    users = columns @ (model.weights @ right) / strength  # left singular vectors
    factors[:, : len(strength)] = (matrix.T @ users) / np.sqrt(strength)
    factors[model.head, : len(strength)] = right * np.sqrt(strength)
    lengths = np.linalg.norm(factors, axis=1)
    longest = np.quantile(lengths[lengths > 0], 0.99) if lengths.any() else 1.0
    return factors / np.float32(longest)


def signed(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Singular vectors [n, k], each with its largest entry positive.

    A decomposition leaves the signs open, and another number of threads comes to others; towers
    that begin with them would train to other weights, from the same seed.
    """
    largest = np.abs(vectors).argmax(0)
    positive: NDArray[np.float32] = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return positive


def met_matrix(interactions: Interactions, items: int) -> sp.csr_matrix:
    """1 where a shopper met an item: float32 [users, items]."""
    matrix = sp.csr_matrix(
        (np.ones(len(interactions), np.float32), (interactions.user, interactions.row)),
        shape=(len(interactions.user_ids), items),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
