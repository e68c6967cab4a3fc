"""What all indexes in the memory of this process share, whichever library searches.

A library finds candidates among the rows that pass a mask. Where only few rows pass, their exact
scores cost less than searching for them would; and where the library comes back with fewer rows
than there are, exact scores fill the rest: a filter never finds less than exists.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.errors import BundleError
from vitrina.filters import EVERYTHING, Selection
from vitrina.index.base import Effort, Found, IndexStats, Kind, RowArray
from vitrina.index.checks import new_rows, query_values
from vitrina.index.rows import RowVectors
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors, require_same_space

TUNED_K: Final = 500
"""Efforts are tuned for this many neighbours; searches for more look at more."""
FEWEST_RESCORED: Final = 200
"""Candidates that get exact scores at least: the best of a few rough ones is not the best."""
EXACT_COST: Final = 12.0
"""What the exact score of a row that has to be picked costs, in rows of a list looked through."""


@dataclass
class Passing:
    """The rows that pass a mask: how many, and the library's form of it once it was asked for."""

    mask: NDArray[np.bool_] | None
    count: int
    native: Any = None


class MemoryIndex(ABC):
    """A `VectorIndex`, but for what its library does.

    Searches may run in parallel; `upsert` and `delete` must not run beside anything else.
    """

    def __init__(self, space: EmbeddingSpace, kind: Kind, vectors: RowVectors) -> None:
        self.space = space
        self.kind = kind
        self._vectors = vectors
        self._usual: tuple[NDArray[np.bool_], Passing] | None = None
        self._everything: Passing | None = None

    @property
    @abstractmethod
    def effort(self) -> Effort:
        """How much a search looks at, without a filter and for TUNED_K neighbours."""

    @effort.setter
    @abstractmethod
    def effort(self, effort: Effort) -> None: ...

    @property
    @abstractmethod
    def most_lists(self) -> int:
        """The largest `Effort.lists` there is; 0 where a search looks at everything."""

    @property
    @abstractmethod
    def rescorings(self) -> tuple[int, ...]:
        """Values of `Effort.rescored` that are worth trying, the lowest first."""

    @classmethod
    @abstractmethod
    def build(cls, vectors: Vectors) -> Self:
        """Index all rows of `vectors`. Raises DataError for one that is not of length 1."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the index to one file."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read the index of these vectors back; they stay where they are."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _candidates(self, values: FloatMatrix, k: int, passing: Passing, lists: int) -> Found:
        """About the k best of the rows that pass, by exact score: float32 and int64 [n, k].

        Fewer (−1), if there are no more in the lists.
        """

    @abstractmethod
    def _put(self, rows: RowArray, values: FloatMatrix) -> None:
        """Add rows that are not in the index."""

    @abstractmethod
    def _drop(self, rows: RowArray) -> None:
        """Remove rows that are."""

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """The k best rows a query, of those that the mask allows.

        The sparser the filter, the more lists are searched. The library's form of a mask that
        cannot be written to is kept until another one comes.
        """
        values = query_values(queries, self.space, k)
        passing = self._passing(allowed.mask)
        lists = self._lists(k, passing)
        if self._few(passing, lists):
            return self._vectors.nearest(values, k, passing.mask)
        scores, rows = self._candidates(values, k, passing, lists)
        short = rows[:, min(k, passing.count) - 1] < 0
        if short.any():
            scores[short], rows[short] = self._vectors.nearest(values[short], k, passing.mask)
        scores[rows < 0] = -np.inf
        return scores, rows

    def upsert(self, rows: RowArray, vectors: Vectors) -> None:
        """Set the vectors of rows, new ones or known ones; found by the next search."""
        rows = new_rows(rows, vectors, self.space)
        self.delete(rows)
        values = np.ascontiguousarray(vectors.values, dtype=np.float32)
        self._put(rows, values)
        self._vectors.set(rows, values)
        self._usual = self._everything = None

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        rows = np.unique(np.asarray(rows, dtype=np.int64))
        present = rows[self._vectors.contain(rows)]
        if len(present):
            self._drop(present)
            self._vectors.remove(present)
            self._usual = self._everything = None

    def stats(self) -> IndexStats:
        """Items, and how they are searched."""
        effort = self.effort
        details = {
            "lists": self.most_lists,
            "searched": effort.lists,
            "rescored": effort.rescored,
        }
        return IndexStats(self.kind, len(self), details=details)

    def _passing(self, mask: NDArray[np.bool_] | None) -> Passing:
        if mask is None:
            if self._everything is None:
                self._everything = Passing(None, len(self))
            return self._everything
        usual = self._usual
        if usual is not None and usual[0] is mask:
            return usual[1]
        if mask.dtype != np.bool_ or mask.ndim != 1:
            raise ValueError(
                f"A mask is a bool array with one entry an item; found {mask.dtype} of shape "
                f"{mask.shape}."
            )
        present = self._vectors.present
        size = min(len(mask), len(present))
        passing = Passing(mask[:size], int(np.count_nonzero(mask[:size] & present[:size])))
        if not mask.flags.writeable:
            self._usual = mask, passing
        return passing

    def _lists(self, k: int, passing: Passing) -> int:
        """As many as hold, on average, the candidates that `effort.lists` hold unfiltered."""
        scarcity = max(len(self), 1) / max(passing.count, 1) * max(1.0, k / TUNED_K)
        return min(self.most_lists, math.ceil(self.effort.lists * scarcity))

    def _few(self, passing: Passing, lists: int) -> bool:
        """Whether the exact scores of all rows that pass cost less than a search for them."""
        looked_through = len(self) * (lists / self.most_lists if self.most_lists else 1.0)
        return passing.count == 0 or (
            passing.mask is not None and passing.count * EXACT_COST <= looked_through
        )


def footer(space: EmbeddingSpace, effort: Effort) -> bytes:
    """What ends an index's file: a line of JSON with its space, so that it cannot be mistaken."""
    about = {
        "version": space.version,
        "dim": space.dim,
        "fingerprint": space.fingerprint,
        "rescored": effort.rescored,
    }
    return b"\n" + orjson.dumps(about)


def read_footer(path: Path, space: EmbeddingSpace) -> int:
    """`Effort.rescored` of an index's file, once it is known to be of this space.

    Raises SpaceMismatch if it was built in another one, BundleError if it is no index.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 1024, 0))
            about = orjson.loads(file.read().rpartition(b"\n")[2])
        rescored = int(about.pop("rescored", 0))  # files from before there was any lack it
        stored = EmbeddingSpace(**about)
    except (OSError, orjson.JSONDecodeError, TypeError, AttributeError, ValueError) as error:
        raise unreadable(path) from error
    require_same_space(stored, space, f"index {path}", "bundle")
    return rescored


def unreadable(path: Path) -> BundleError:
    """The error of a file that holds no index."""
    return BundleError(
        f"{path} is not an index that Vitrina wrote, or it is damaged. Build it again with "
        f"'vitrina index', or roll back with 'vitrina rollback'."
    )
