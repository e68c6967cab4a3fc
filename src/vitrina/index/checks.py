"""What every index and store refuses, in the same words."""

from __future__ import annotations

from typing import Final

import numpy as np

from vitrina.errors import DataError
from vitrina.index.base import RowArray
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors, require_same_space

UNIT_TOLERANCE: Final = 1e-3
"""How far the length of a vector may be from 1 (float16 rounding passes, forgetting does not)."""


def query_values(queries: Vectors, space: EmbeddingSpace, k: int) -> FloatMatrix:
    """The queries [n, dim], contiguous, once they are known to be fit for a search.

    Raises SpaceMismatch, ValueError for k below 1, DataError for NaN or infinity.
    """
    require_same_space(queries.space, space, "query", "index")
    if k < 1:
        raise ValueError(f"k is the number of neighbours, at least 1; found {k}.")
    values = np.ascontiguousarray(queries.values, dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError("A query vector holds NaN or infinity; nothing can be near it.")
    return values


def new_rows(rows: RowArray, vectors: Vectors, space: EmbeddingSpace) -> RowArray:
    """The rows int64 [n] of new vectors, once both are known to be fit for storing.

    Raises SpaceMismatch; ValueError for a row that is negative or given twice, or where there are
    more or fewer rows than vectors; DataError for vectors that are not of length 1.
    """
    require_same_space(vectors.space, space, "new vectors", "index")
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    if rows.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} vectors need as many rows; found {rows.shape}.")
    require_unit(vectors.values)
    if len(rows) and rows.min() < 0:
        raise ValueError(f"Row numbers start at 0; found {rows.min()}.")
    distinct, counts = np.unique(rows, return_counts=True)
    repeated = distinct[counts > 1]
    if len(repeated):
        raise ValueError(
            f"Row {repeated[0]} is given twice ({len(repeated)} such rows); a row has one vector."
        )
    return rows


def require_unit(values: FloatMatrix) -> None:
    """Raise DataError unless every row of values [n, dim] is finite and of length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # NaN compares false
    if len(bad):
        raise DataError(
            f"Vector {bad[0]} has length {lengths[bad[0]]:.4g} ({len(bad)} such vectors), an "
            f"index takes unit vectors only. NaN means that training diverged; else normalise "
            f"them (vitrina.space.normalise)."
        )
