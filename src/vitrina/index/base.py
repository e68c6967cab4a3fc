"""What finds the nearest items: one search, whichever library or store is behind it.

`Searcher` is all that a request needs. A `VectorIndex` is one that lies in a bundle's files and in
this process' memory; a `VectorStore` one that a shop runs anyway, which keeps what it filters by,
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.filters import EVERYTHING, ItemAttributes, Selection
from vitrina.space import EmbeddingSpace, Vectors

RowArray = NDArray[np.int64]
Found = tuple[NDArray[np.float32], RowArray]
"""Scores float32 [n, k], highest first, and rows int64 [n, k]."""


Kind = Literal["exact", "ivf", "ivf_flat", "ivf_sq8", "ivf_pq", "rabitq", "hnsw", "scann"]
"""How an index of ours searches. `ivf` has inverted lists of float16; all but scann are FAISS's."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of an index a search looks at.

    lists: inverted lists (of HNSW: nodes kept on the way); 0: everything.
    rescored: candidates per neighbour asked for whose exact score is computed; 0: scores are taken
    as the index has them.
    """

    lists: int = 0
    rescored: int = 0


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """How an index searches, and how well.

    recall_at_500: share of exact search's `k` best that the index finds, measured at build (k is
    500 unless `vitrina index tune` was told otherwise); recall_target: what was asked for; nlist,
    nprobe: inverted lists in all and searched per query (0 where there are none); rescored: as in
    `Effort`.
    """

    kind: Kind
    recall_at_500: float
    recall_target: float
    nlist: int = 0
    nprobe: int = 0
    rescored: int = 0
    k: int = 500


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index or a store holds. kind: how it searches, in its maker's words.

    bytes: of memory or disk, where that is known. details: what else the backend tells of itself.
    """

    kind: str
    items: int
    bytes: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Searcher(Protocol):
    """Maximum inner product search over unit vectors: item rows out.

    Guarantees: scores are inner products to within 0.001, highest first; rows are those that the
    vectors were stored under; a search with vectors of another space raises `SpaceMismatch`, one
    with NaN `DataError`, k below 1 `ValueError`; whatever the filter, k rows are found if so many
    pass it, else all that pass; where there are no more, the row is -1 and the score -inf.
    """

    @property
    def space(self) -> EmbeddingSpace:
        """What the vectors are of; stamped into the file or the store itself."""

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """The k best rows a query, of the items that pass."""
        ...


class VectorIndex(Searcher, Protocol):
    """An index in the memory of this process, from one file of a bundle.

    It knows rows and vectors, and filters by masks: what an item costs or whether it can be had
    stands in the catalog, and changes there alone. Rows past a mask's end do not pass.
    """

    def __len__(self) -> int: ...

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        """Index all rows of `vectors`. Raises DataError for one that is not of length 1."""
        ...

    def upsert(self, rows: RowArray, vectors: Vectors) -> None:
        """Set the vectors of rows, new ones or known ones; found by the next search.

        Raises ValueError for a row that is negative or given twice, DataError and SpaceMismatch
        for vectors that do not belong; it has then changed nothing.
        """
        ...

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        ...

    def stats(self) -> IndexStats:
        """What it holds at the moment."""
        ...

    def save(self, path: Path) -> None:
        """Write the index to one file."""
        ...

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read the index of these vectors back, which stay where they are.

        Raises `SpaceMismatch` if it was built in another space, BundleError if it is no index.
        """
        ...


class VectorStore(Searcher, Protocol):
    """A collection in a store of its own, which other programs may read as well.

    Keyed by row, with the item's id and attributes beside: a collection belongs to one space,
    whose version names it, and the rows of a space never change; so a new catalog is a new
    collection, and a request need not translate 500 ids. What cannot be reached, or answers with
    an error, raises `SourceError`; the request path then answers without it.
    """

    @classmethod
    def create(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the collection of this space to write to it, making it if there is none.

        It cannot be attached to until it is sealed. One that an interrupted copy left is taken up
        again: `stats().items` says how many it has.
        """
        ...

    @classmethod
    def attach(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the collection of this space to search it.

        Raises SpaceMismatch where the store says that it holds another space, SourceError where
        there is none, or one that is not complete.
        """
        ...

    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None:
        """Set vectors and attributes of rows, new ones or known ones; found by the next search.

        attributes: of these rows, in their order. Raises as `VectorIndex.upsert`.
        """
        ...

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        ...

    def seal(self) -> None:
        """Say that the collection is complete: build what makes it fast, let it be attached to."""
        ...

    def stats(self) -> IndexStats:
        """What it holds at the moment."""
        ...

    def drop(self) -> None:
        """Remove the collection and all it holds."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
