"""ScaNN as an index in memory: a tree, and four bits for each number of a vector.

Vectors are quantised so that what counts for an inner product is kept (Guo et al., ICML 2020), and
scanned with 16-entry tables in registers. Of what looks best, ScaNN computes the exact scores, from
vectors of its own: each process that loads the index has them in its memory once more.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
import orjson

from vitrina.errors import MissingExtra
from vitrina.index.base import Effort, Found, RowArray
from vitrina.index.checks import require_unit
from vitrina.index.faiss import list_count
from vitrina.index.memory import (
    FEWEST_RESCORED,
    MemoryIndex,
    Passing,
    footer,
    read_footer,
    unreadable,
)
from vitrina.index.rows import RowVectors, best_of
from vitrina.space import FloatMatrix, Vectors

try:
    from scann.scann_ops.py import scann_ops_pybind
except ModuleNotFoundError as error:
    raise MissingExtra("scann", "scann", why="This index is ScaNN's. ") from error

ANISOTROPIC_THRESHOLD: Final = 0.2
"""Inner products above this share of the largest are those that the codes have to keep."""
DIMENSIONS_PER_CODE: Final = 1
"""Two numbers a code halve the memory, and lose what 500 neighbours are told apart by."""
TRAINED_ON: Final = 250_000
"""Vectors that the tree's leaves are learnt from, at most."""
RESCORINGS: Final = (2, 3, 4, 5)
SPARE: Final = 1.1
"""With a filter, as many times more candidates than should do: shares differ between corners."""
EFFORT: Final = "effort.json"
ROWS: Final = "rows.npy"


class ScannIndex(MemoryIndex):
    """Inner product search with ScaNN: `Effort.lists` leaves of its tree, then exact scores.

    ScaNN knows no filters: as many more candidates are taken as the share that passes makes
    necessary.
    """

    def __init__(
        self, vectors: Vectors, searcher: Any, rows: RowArray, leaves: int, effort: Effort
    ) -> None:
        """rows int64 [n]: the row of each of ScaNN's numbers; leaves: of its tree."""
        present = np.zeros(max(len(vectors), int(rows.max(initial=-1)) + 1), np.bool_)
        present[rows] = True
        super().__init__(vectors.space, "scann", RowVectors(vectors.values, present))
        self._searcher = searcher
        self._rows = rows
        self._leaves = leaves
        self._effort = effort

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        """Index all rows; one leaf is searched, until an effort is set."""
        require_unit(vectors.values)
        leaves = list_count(len(vectors))
        values = np.ascontiguousarray(vectors.values, np.float32)
        builder = (
            scann_ops_pybind.builder(values, 1, "dot_product")
            .tree(leaves, 1, training_sample_size=TRAINED_ON, spherical=True)
            .score_ah(DIMENSIONS_PER_CODE, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD)
            .reorder(1)
        )
        effort = Effort(1, RESCORINGS[0])
        return cls(vectors, builder.build(), np.arange(len(vectors)), leaves, effort)

    @property
    def effort(self) -> Effort:
        return self._effort

    @effort.setter
    def effort(self, effort: Effort) -> None:
        self._effort = effort

    @property
    def rescorings(self) -> tuple[int, ...]:
        return RESCORINGS

    @property
    def most_lists(self) -> int:
        return self._leaves

    def __len__(self) -> int:
        return len(self._rows)

    def save(self, path: Path) -> None:
        """Write one file: ScaNN's own files and the rows, as a tar archive; then a line of JSON."""
        with TemporaryDirectory() as folder:
            self._searcher.serialize(folder, True)
            np.save(Path(folder) / ROWS, self._rows)
            about = {"leaves": self._leaves, "lists": self.effort.lists}
            (Path(folder) / EFFORT).write_bytes(orjson.dumps(about))
            with tarfile.open(path, "w") as archive:
                for part in sorted(Path(folder).iterdir()):
                    archive.add(part, part.name)
        with path.open("ab") as file:
            file.write(footer(self.space, self.effort))

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read an index back into the process' own memory.

        Raises SpaceMismatch if it was built in another space, BundleError if it is no index.
        """
        rescored = read_footer(path, vectors.space)
        try:
            with TemporaryDirectory() as folder:
                with tarfile.open(path) as archive:
                    # No pickles: ScaNN would read one of that name, and ours has none.
                    parts = [part for part in archive if not part.name.endswith(".pkl")]
                    archive.extractall(folder, parts, filter="data")
                rows = np.load(Path(folder) / ROWS, allow_pickle=False)
                about = orjson.loads((Path(folder) / EFFORT).read_bytes())
                searcher = scann_ops_pybind.load_searcher(folder, assets_backcompat_shim=False)
            effort = Effort(int(about["lists"]), rescored)
            return cls(vectors, searcher, rows, int(about["leaves"]), effort)
        except (OSError, tarfile.TarError, ValueError, KeyError, RuntimeError) as error:
            raise unreadable(path) from error

    def _candidates(self, values: FloatMatrix, k: int, passing: Passing, lists: int) -> Found:
        share, held = passing.count / len(self), len(self)
        wanted = min(held, k if share == 1 else int(SPARE * k / share))
        looked = min(held, max(wanted * self.effort.rescored, FEWEST_RESCORED))
        if len(values) == 1:
            numbers, scores = self._searcher.search(values[0], wanted, looked, lists)
            numbers, scores = numbers[None], scores[None]
        else:
            numbers, scores = self._searcher.search_batched_parallel(values, wanted, looked, lists)
        there = np.isfinite(scores)
        rows = self._rows[np.where(there, numbers, 0)]
        if passing.mask is not None:
            there &= rows < len(passing.mask)
            there &= passing.mask[np.where(there, rows, 0)]
        return best_of(np.where(there, scores, np.float32(-np.inf)), rows, k)

    def _put(self, rows: RowArray, values: FloatMatrix) -> None:
        self._searcher.searcher.upsert([None] * len(rows), list(values), len(rows))
        self._rows = np.concatenate([self._rows, rows])

    def _drop(self, rows: RowArray) -> None:
        numbers = np.flatnonzero(np.isin(self._rows, rows))[::-1]
        for number in numbers.tolist():  # the last vector takes the place of one that goes
            self._searcher.searcher.delete([number])
            self._rows[number] = self._rows[-1]
            self._rows = self._rows[:-1]
