"""FAISS behind the `VectorIndex` protocol: an exact scan for small catalogs, inverted lists above.

Inverted lists hold float16: a search reads all vectors of the lists it probes, so half the bytes
are a quarter less time and half the memory, and move a score by less than 0.001.

A search for one query uses one thread, a search for a batch all cores. OpenMP's barriers cost a
scheduler's time slice (8 ms measured, against 0.5 ms of work) whenever another process holds one
of the cores, which a request cannot afford and a batch does not notice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self

import faiss
import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.errors import BundleError, DataError, SpaceMismatch
from vitrina.filters import EVERYTHING, Selection
from vitrina.index.base import Found, IndexStats, RowArray
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors, require_same_space

SEED: Final = 1234
UNIT_TOLERANCE: Final = 1e-3
"""How far the length of a vector may be from 1 (float16 rounding passes, forgetting does not)."""
ROWS_PER_LIST: Final = 39
"""Under this many vectors per list k-means centroids are noise (the limit FAISS warns at)."""
TUNED_K: Final = 500
"""`nprobe` is tuned for this many neighbours; searches for more probe more."""


class FaissIndex:
    """Inner product search with FAISS: `IndexFlatIP`, or inverted lists of float16.

    Searches may run in parallel; `upsert` and `delete` must not run beside anything else.
    """

    def __init__(self, space: EmbeddingSpace, index: Any) -> None:
        """index: a faiss.IndexIDMap over IndexFlatIP, or a trained faiss.IndexIVF."""
        self.space = space
        self._index = index
        self._mapped: Path | None = None
        self._usual: tuple[NDArray[np.bool_], Any, int] | None = None
        self._present = np.zeros(0, np.bool_)  # by row number
        self._mark(_stored_rows(index), True)

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        """An exact index of all rows; `index.tuning.build_index` chooses and tunes."""
        return cls.build_exact(vectors)

    @classmethod
    def build_exact(cls, vectors: Vectors) -> Self:
        """An index that compares a query with every vector."""
        index = cls(vectors.space, faiss.IndexIDMap(faiss.IndexFlatIP(vectors.space.dim)))
        index.upsert(np.arange(len(vectors)), vectors)
        return index

    @classmethod
    def build_ivf(cls, vectors: Vectors) -> Self:
        """An index of about 4·√n inverted lists, one searched per query until `nprobe` is set."""
        _require_unit(vectors.values)
        dim = vectors.space.dim
        ivf = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim),
            dim,
            list_count(len(vectors)),
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
            False,  # the vectors themselves, not what sets them apart from their list's centre
        )
        ivf.cp.seed = SEED
        ivf.train(np.ascontiguousarray(vectors.values))
        index = cls(vectors.space, ivf)
        index.upsert(np.arange(len(vectors)), vectors)
        return index

    @property
    def kind(self) -> Literal["exact", "ivf"]:
        return "ivf" if isinstance(self._index, faiss.IndexIVF) else "exact"

    @property
    def nlist(self) -> int:
        """Inverted lists in all; 0 for an exact index."""
        return int(self._index.nlist) if self.kind == "ivf" else 0

    @property
    def nprobe(self) -> int:
        """Inverted lists searched for an unfiltered query; 0 for an exact index."""
        return int(self._index.nprobe) if self.kind == "ivf" else 0

    @nprobe.setter
    def nprobe(self, value: int) -> None:
        self._index.nprobe = value

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """The k best rows a query, of those that the mask allows.

        The sparser the filter, the more lists are probed, up to all of them; a query that
        still finds fewer rows than pass the filter is answered by a scan of every list. FAISS's
        form of a mask that cannot be written to is kept until another one comes.
        """
        require_same_space(queries.space, self.space, "query", "index")
        if k < 1:
            raise ValueError(f"k is the number of neighbours, at least 1; found {k}.")
        values = np.ascontiguousarray(queries.values, dtype=np.float32)
        if not np.isfinite(values).all():
            raise DataError("A query vector holds NaN or infinity; nothing can be near it.")
        selector, passing = self._selector(allowed.mask)
        lists = self._lists_to_probe(k, passing)
        scores, rows = self._search(values, k, selector, lists)
        if lists < self.nlist:
            short = rows[:, min(k, passing) - 1] < 0 if passing else np.zeros(len(rows), np.bool_)
            if short.any():
                scores[short], rows[short] = self._search(values[short], k, selector, self.nlist)
        scores[rows < 0] = -np.inf
        return scores, rows

    def upsert(self, rows: RowArray, vectors: Vectors) -> None:
        """Set the vectors of rows, new ones or known ones; found by the next search."""
        require_same_space(vectors.space, self.space, "new vectors", "index")
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        if rows.shape != (len(vectors),):
            raise ValueError(f"{len(vectors)} vectors need as many rows; found {rows.shape}.")
        _require_unit(vectors.values)
        if len(rows) and rows.min() < 0:
            raise ValueError(f"Row numbers start at 0; found {rows.min()}.")
        distinct, counts = np.unique(rows, return_counts=True)
        repeated = distinct[counts > 1]
        if len(repeated):
            raise ValueError(
                f"Row {repeated[0]} is given twice ({len(repeated)} such rows); a row has one "
                f"vector."
            )
        self.delete(rows)
        self._unmap()
        self._index.add_with_ids(np.ascontiguousarray(vectors.values, dtype=np.float32), rows)
        self._mark(rows, True)

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        rows = np.asarray(rows, dtype=np.int64)
        present = rows[self._contains(rows)]
        if len(present):
            self._unmap()
            self._index.remove_ids(present)
            self._mark(present, False)

    def stats(self) -> IndexStats:
        """Items, and how they are searched."""
        return IndexStats(
            self.kind, len(self), details={"nlist": self.nlist, "nprobe": self.nprobe}
        )

    def save(self, path: Path) -> None:
        """Write one file: a FAISS index (`faiss.read_index` reads it), then a line of JSON.

        The line holds the space, so that the file cannot be mistaken for another bundle's.
        """
        faiss.write_index(self._index, str(path))
        with path.open("ab") as file:
            file.write(b"\n" + orjson.dumps(self.space))

    @classmethod
    def load(cls, path: Path, space: EmbeddingSpace) -> Self:
        """Read an index back, its vectors mapped: processes that load one file share its memory.

        Raises SpaceMismatch if it was built in another space, BundleError if it is no index.
        """
        require_same_space(_stored_space(path), space, f"index {path}", "bundle")
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(_unreadable(path)) from error
        if index.d != space.dim:
            raise SpaceMismatch(
                f"The index {path} holds vectors of {index.d} numbers, {space.version} has "
                f"{space.dim}. Build it again with 'vitrina index'."
            )
        loaded = cls(space, index)
        loaded._mapped = path
        return loaded

    def _unmap(self) -> None:
        """Read the mapped file into memory of our own, before it is changed there."""
        if self._mapped is not None:
            nprobe = self.nprobe
            self._index = faiss.read_index(str(self._mapped))
            if nprobe:
                self.nprobe = nprobe
            self._mapped = None

    def _search(self, values: FloatMatrix, k: int, selector: Any, lists: int) -> Found:
        if self.kind == "ivf":
            params = faiss.SearchParametersIVF(sel=selector, nprobe=lists)
        else:
            # Without a filter FAISS may take its faster path for batches, hence None.
            params = faiss.SearchParameters(sel=selector) if selector else None
        with _threads(1 if len(values) == 1 else None):
            scores, rows = self._index.search(values, k, params=params)
        return scores, rows

    def _selector(self, allowed: NDArray[np.bool_] | None) -> tuple[Any, int]:
        """FAISS's form of the filter (None: everything), and how many rows pass it."""
        if allowed is None:
            return None, len(self)
        usual = self._usual
        if usual is not None and usual[0] is allowed:
            return usual[1:]
        if allowed.dtype != np.bool_ or allowed.ndim != 1:
            raise ValueError(
                f"A mask is a bool array with one entry an item; found {allowed.dtype} of shape "
                f"{allowed.shape}."
            )
        size = min(len(allowed), len(self._present))
        passing = int(np.count_nonzero(allowed[:size] & self._present[:size]))
        selector = faiss.IDSelectorBitmap(np.packbits(allowed[:size], bitorder="little"))
        if not allowed.flags.writeable:
            self._usual = allowed, selector, passing
        return selector, passing

    def _lists_to_probe(self, k: int, passing: int) -> int:
        """As many lists as hold, on average, the candidates that `nprobe` lists hold unfiltered."""
        scarcity = max(len(self), 1) / max(passing, 1) * max(1.0, k / TUNED_K)
        return min(self.nlist, math.ceil(self.nprobe * scarcity))

    def _contains(self, rows: RowArray) -> NDArray[np.bool_]:
        known = (rows >= 0) & (rows < len(self._present))
        known[known] = self._present[rows[known]]
        return known

    def _mark(self, rows: RowArray, present: bool) -> None:
        self._usual = None
        if len(rows) and (missing := int(rows.max()) + 1 - len(self._present)) > 0:
            self._present = np.concatenate([self._present, np.zeros(missing, np.bool_)])
        self._present[rows] = present


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let FAISS use `count` threads (None: as before). OpenMP keeps the number per thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def list_count(items: int) -> int:
    """Inverted lists for a catalog: the power of two nearest to 4·√items, fewer if tiny."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(items, 1))))
    affordable = 2 ** int(math.log2(max(items // ROWS_PER_LIST, 1)))
    return int(min(wanted, affordable))


def _require_unit(values: FloatMatrix) -> None:
    """Raise DataError unless every row of values [n, dim] is finite and of length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # NaN compares false
    if len(bad):
        raise DataError(
            f"Vector {bad[0]} has length {lengths[bad[0]]:.4g} ({len(bad)} such vectors), an "
            f"index takes unit vectors only. NaN means that training diverged; else normalise "
            f"them (vitrina.space.normalise)."
        )


def _stored_rows(index: Any) -> RowArray:
    """Row numbers in a FAISS index, int64 [ntotal], in no order."""
    if not isinstance(index, faiss.IndexIVF):
        return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    lists, sizes = index.invlists, [index.invlists.list_size(i) for i in range(index.nlist)]
    parts = [faiss.rev_swig_ptr(lists.get_ids(i), n) for i, n in enumerate(sizes) if n]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _stored_space(path: Path) -> EmbeddingSpace:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 1024, 0))
            line = file.read().rpartition(b"\n")[2]
        return EmbeddingSpace(**orjson.loads(line))
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        raise BundleError(_unreadable(path)) from error


def _unreadable(path: Path) -> str:
    return (
        f"{path} is not an index that Vitrina wrote, or it is damaged. Build it again with "
        f"'vitrina index', or roll back with 'vitrina rollback'."
    )
