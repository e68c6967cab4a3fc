"""What a vector index promises, whichever library or store is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.space import EmbeddingSpace, Vectors

RowArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """How an index searches, and how well.

    recall_at_500: share of exact search's 500 best that the index finds, measured at build;
    recall_target: what the settings asked for; nlist, nprobe: inverted lists in all and searched
    per query (0 for an exact index).
    """

    kind: Literal["exact", "ivf"]
    recall_at_500: float
    recall_target: float
    nlist: int = 0
    nprobe: int = 0


class VectorIndex(Protocol):
    """Maximum inner product search over unit vectors, item rows in, item rows out.

    Guarantees: scores are inner products to within 0.001, highest first; rows are the rows of the
    `Vectors` the index was built from; a search with vectors of another space raises
    `SpaceMismatch`; where fewer than k items pass, the row is -1 and the score -inf.
    """

    space: EmbeddingSpace

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        """Index all rows of `vectors`."""
        ...

    def search(
        self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], RowArray]:
        """The k best rows a query: scores float32 [n, k] and rows int64 [n, k].

        allowed bool [items]: rows that may be returned; None allows all.
        """
        ...

    def add(self, rows: RowArray, vectors: Vectors) -> None:
        """Add vectors under new row numbers; a row already present is an error."""
        ...

    def remove(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        ...

    def save(self, path: Path) -> None:
        """Write the index to one file."""
        ...

    @classmethod
    def load(cls, path: Path, space: EmbeddingSpace) -> Self:
        """Read an index back; raises `SpaceMismatch` if it was built in another space."""
        ...
