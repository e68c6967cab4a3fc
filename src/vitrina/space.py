"""Embedding spaces: which vectors may meet which.

A vector never travels without its space. The item tower and the catalog it embedded define a
space; everything else (index, encoder, cache entry, user vector) declares the space it lives in,
and whatever brings two together calls `require_same_space` first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitrina.errors import SpaceMismatch

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """A coordinate system of unit vectors.

    version: the item embedding version, e.g. `items_v20261121T101500`.
    fingerprint: hex digest over item ids, item vectors and tower weights (see `fingerprint`).
    """

    version: str
    dim: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Vectors:
    """Row-wise unit vectors together with the space they live in: values float32 [n, dim]."""

    space: EmbeddingSpace
    values: FloatMatrix

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.space.dim:
            raise SpaceMismatch(
                f"Vectors of shape {self.values.shape} cannot live in {self.space.version}, "
                f"whose vectors have {self.space.dim} numbers each."
            )

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class UserVector:
    """One shopper's taste: a unit vector in the items' space.

    rung: the step of the ladder that made it (see `online.user_vector`).
    user_embedding_version: the version of the user tower, e.g. `user_v20261121T101500`.
    stale_seconds: of a cached one that stands in for a history that cannot be read: how long ago it
    was the shopper's for certain; None: it is now.
    """

    values: NDArray[np.float32]  # [dim]
    space: EmbeddingSpace
    user_embedding_version: str
    rung: str
    stale_seconds: float | None = None

    def as_query(self) -> Vectors:
        return Vectors(self.space, self.values[None, :])


def require_same_space(
    left: EmbeddingSpace, right: EmbeddingSpace, left_name: str, right_name: str
) -> None:
    """Raise `SpaceMismatch`, naming both, unless the two are one space."""
    if left != right:
        raise SpaceMismatch(
            f"The {left_name} lives in {left.version} (fingerprint {left.fingerprint[:12]}…, dim "
            f"{left.dim}), the {right_name} in {right.version} (fingerprint "
            f"{right.fingerprint[:12]}…, dim {right.dim}). Use both from one bundle, or build the "
            f"index again with 'vitrina index'."
        )


def fingerprint(item_ids: Iterable[str], item_vectors: FloatMatrix, weights_sha256: str) -> str:
    """SHA-256 over item ids, item vectors float32 [n, dim] and the item tower's weights file."""
    digest = hashlib.sha256()
    digest.update("\n".join(item_ids).encode())
    # Its buffer, not its bytes: a copy of a large catalog's vectors is a large peak of memory.
    digest.update(np.ascontiguousarray(item_vectors, dtype="<f4").reshape(-1).data)
    digest.update(weights_sha256.encode())
    return digest.hexdigest()


def normalise(values: NDArray[np.floating]) -> FloatMatrix:
    """Divide each row by its length; a zero row stays zero. values [..., dim]."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    unit: FloatMatrix = (values / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
