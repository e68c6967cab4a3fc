"""FAISS as an index in memory: an exact scan, inverted lists in five forms, HNSW.

A search for one query uses one thread, a search for a batch all cores. OpenMP's barriers cost a
scheduler's time slice (8 ms measured, against 0.5 ms of work) whenever another process holds one
of the cores, which a request cannot afford and a batch does not notice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from vitrina.errors import SpaceMismatch
from vitrina.index.base import Effort, Found, Kind, RowArray
from vitrina.index.checks import require_unit
from vitrina.index.memory import (
    FEWEST_RESCORED,
    TUNED_K,
    MemoryIndex,
    Passing,
    footer,
    read_footer,
    unreadable,
)
from vitrina.index.rows import RowVectors
from vitrina.space import FloatMatrix, Vectors

SEED: Final = 1234
ROWS_PER_LIST: Final = 39
"""Under this many vectors per list k-means centroids are noise (the limit FAISS warns at)."""
HNSW_LINKS: Final = 32
"""Links of a node: more of them help no recall that an index of items is asked for."""
MOST_NODES: Final = 4000
"""Nodes that a search of HNSW keeps at most; exact scores cost less than more of them."""
RESCORINGS: Final[dict[Kind, tuple[int, ...]]] = {
    "ivf_sq8": (1,),
    "ivf_pq": (2, 3, 4, 6),
    "rabitq": (3, 4, 6, 10),
}
"""Kinds whose own scores are rough, and how many candidates per neighbour are worth rescoring."""


class FaissIndex(MemoryIndex):
    """Inner product search with FAISS.

    `ivf` holds float16: a search reads all vectors of the lists it probes, so half the bytes are a
    quarter less time and half the memory, and move a score by less than 0.001. `ivf_flat` holds
    float32; `ivf_sq8`, `ivf_pq` (4 bits for each two dimensions) and `rabitq` (1 bit for each)
    hold codes, and the vectors behind the index give the scores. HNSW has no lists, and forgets a
    vector without freeing its memory.
    """

    def __init__(self, vectors: Vectors, kind: Kind, index: Any, effort: Effort) -> None:
        """index: a faiss.IndexIDMap over IndexFlatIP or IndexHNSWFlat, or a faiss.IndexIVF."""
        rows = _stored_rows(index)
        rows = rows[rows >= 0]
        present = np.zeros(max(len(vectors), int(rows.max(initial=-1)) + 1), np.bool_)
        present[rows] = True
        super().__init__(vectors.space, kind, RowVectors(vectors.values, present))
        self._index = index
        self._effort = effort
        self._gone = len(rows) < index.ntotal
        self._mapped: Path | None = None

    @classmethod
    def build(cls, vectors: Vectors, kind: Kind = "exact") -> Self:
        """Index all rows; of inverted lists one is searched, until an effort is set."""
        require_unit(vectors.values)
        values, rows = np.ascontiguousarray(vectors.values, np.float32), np.arange(len(vectors))
        index = _untrained(kind, vectors.space.dim, list_count(len(vectors)))
        if isinstance(index, faiss.IndexIVF):
            index.cp.seed = SEED
        index.train(values)
        index.add_with_ids(values, rows)
        lists = 0 if kind == "exact" else 1
        return cls(vectors, kind, index, Effort(lists, RESCORINGS.get(kind, (0,))[0]))

    @property
    def effort(self) -> Effort:
        return self._effort

    @effort.setter
    def effort(self, effort: Effort) -> None:
        if self.kind == "hnsw":  # keeps as many nodes as it returns, and is tuned for so many
            effort = replace(effort, lists=max(effort.lists, TUNED_K))
        self._effort = effort
        _set_lists(self._index, effort.lists)

    @property
    def rescorings(self) -> tuple[int, ...]:
        return RESCORINGS.get(self.kind, (0,))

    @property
    def most_lists(self) -> int:
        """Inverted lists in all; of HNSW, MOST_NODES."""
        if self.kind == "hnsw":
            return MOST_NODES
        return int(self._index.nlist) if isinstance(self._index, faiss.IndexIVF) else 0

    def __len__(self) -> int:
        return int(np.count_nonzero(self._vectors.present)) if self._gone else self._index.ntotal

    def save(self, path: Path) -> None:
        """Write one file: a FAISS index (`faiss.read_index` reads it), then a line of JSON."""
        faiss.write_index(self._index, str(path))
        with path.open("ab") as file:
            file.write(footer(self.space, self.effort))

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        """Read an index back, mapped: processes that load one file share its memory.

        Raises SpaceMismatch if it was built in another space, BundleError if it is no index.
        """
        rescored = read_footer(path, vectors.space)
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise unreadable(path) from error
        if index.d != vectors.space.dim:
            raise SpaceMismatch(
                f"The index {path} holds vectors of {index.d} numbers, {vectors.space.version} has "
                f"{vectors.space.dim}. Build it again with 'vitrina index'."
            )
        loaded = cls(vectors, _kind(index), index, Effort(_lists(index), rescored))
        loaded._mapped = path
        return loaded

    def _candidates(self, values: FloatMatrix, k: int, passing: Passing, lists: int) -> Found:
        selector, rescored = self._selector(passing), self.effort.rescored
        wanted = max(rescored * k, FEWEST_RESCORED) if rescored else k
        if self.kind == "hnsw":
            params = faiss.SearchParametersHNSW(sel=selector, efSearch=max(lists, wanted))
        elif self.kind == "exact":
            # Without a filter FAISS may take its faster path for batches, hence None.
            params = faiss.SearchParameters(sel=selector) if selector else None
        else:
            params = faiss.SearchParametersIVF(sel=selector, nprobe=lists)
        with _threads(1 if len(values) == 1 else None):
            found: Found = self._index.search(values, wanted, params=params)
        return self._vectors.rescored(values, found[1], k) if rescored else found

    def _selector(self, passing: Passing) -> Any:
        """FAISS's form of the mask; None: everything. Rows −1, which are gone, pass none."""
        mask = passing.mask
        if mask is None and self._gone:
            mask = self._vectors.present
        if passing.native is None and mask is not None:
            passing.native = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        return passing.native

    def _put(self, rows: RowArray, values: FloatMatrix) -> None:
        self._unmap()
        self._index.add_with_ids(values, rows)

    def _drop(self, rows: RowArray) -> None:
        self._unmap()
        if self.kind == "hnsw":  # nodes are on the way to others: they stay, and have no row
            ids = faiss.rev_swig_ptr(self._index.id_map.data(), self._index.ntotal)
            ids[np.isin(ids, rows)] = -1
            self._gone = True
        else:
            self._index.remove_ids(rows)

    def _unmap(self) -> None:
        """Read the mapped file into memory of our own, before it is changed there."""
        if self._mapped is not None:
            self._index = faiss.read_index(str(self._mapped))
            self._mapped = None
            self.effort = self._effort


def list_count(items: int) -> int:
    """Inverted lists for a catalog: the power of two nearest to 4·√items, fewer if tiny."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(items, 1))))
    affordable = 2 ** int(math.log2(max(items // ROWS_PER_LIST, 1)))
    return int(min(wanted, affordable))


def _untrained(kind: Kind, dim: int, lists: int) -> Any:
    """A FAISS index without vectors. dim: for `ivf_pq`, even."""
    product = faiss.METRIC_INNER_PRODUCT
    if kind == "exact":
        return faiss.IndexIDMap(faiss.IndexFlatIP(dim))
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, HNSW_LINKS, product)
        return _owning(faiss.IndexIDMap(graph), graph)
    coarse = faiss.IndexFlatIP(dim)
    make: dict[Kind, Callable[[], Any]] = {
        "ivf": lambda: _scalar(coarse, dim, lists, faiss.ScalarQuantizer.QT_fp16),
        "ivf_sq8": lambda: _scalar(coarse, dim, lists, faiss.ScalarQuantizer.QT_8bit),
        "ivf_flat": lambda: faiss.IndexIVFFlat(coarse, dim, lists, product),
        "ivf_pq": lambda: faiss.IndexIVFPQFastScan(coarse, dim, lists, dim // 2, 4, product),
        "rabitq": lambda: faiss.IndexIVFRaBitQ(coarse, dim, lists, product),
    }
    return _owning(make[kind](), coarse)


def _scalar(coarse: Any, dim: int, lists: int, code: int) -> Any:
    # Codes of the vectors themselves, not of what sets them apart from their list's centre.
    product = faiss.METRIC_INNER_PRODUCT
    return faiss.IndexIVFScalarQuantizer(coarse, dim, lists, code, product, False)


def _owning(index: Any, part: Any) -> Any:
    """The index, which has to free what it is made of."""
    part.this.disown()
    index.own_fields = True
    return index


def _kind(index: Any) -> Kind:
    """Which of ours a FAISS index is."""
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        return "ivf" if index.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else "ivf_sq8"
    for made, kind in _KIND_OF:
        if isinstance(index, made):
            return kind
    return "hnsw" if isinstance(faiss.downcast_index(index.index), faiss.IndexHNSW) else "exact"


_KIND_OF: Final[tuple[tuple[type, Kind], ...]] = (
    (faiss.IndexIVFFlat, "ivf_flat"),
    (faiss.IndexIVFPQFastScan, "ivf_pq"),
    (faiss.IndexIVFRaBitQ, "rabitq"),
)


def _graph(index: Any) -> Any:
    """The HNSW graph in a FAISS index, or None."""
    if isinstance(index, faiss.IndexIVF):
        return None
    inner = faiss.downcast_index(index.index)
    return inner.hnsw if isinstance(inner, faiss.IndexHNSW) else None


def _lists(index: Any) -> int:
    """`Effort.lists` that a FAISS index was saved with."""
    if isinstance(index, faiss.IndexIVF):
        return int(index.nprobe)
    graph = _graph(index)
    return 0 if graph is None else int(graph.efSearch)


def _set_lists(index: Any, lists: int) -> None:
    graph = _graph(index)
    if graph is not None:
        graph.efSearch = lists
    elif isinstance(index, faiss.IndexIVF):
        index.nprobe = lists


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let FAISS use `count` threads (None: as before). OpenMP keeps the number per thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _stored_rows(index: Any) -> NDArray[np.int64]:
    """Row numbers in a FAISS index, int64 [ntotal], in no order; −1 for what is gone."""
    if not isinstance(index, faiss.IndexIVF):
        return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    lists, sizes = index.invlists, [index.invlists.list_size(i) for i in range(index.nlist)]
    parts = [faiss.rev_swig_ptr(lists.get_ids(i), n) for i, n in enumerate(sizes) if n]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
