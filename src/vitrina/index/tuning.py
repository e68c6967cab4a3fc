"""Choosing an index for a catalog, and the least work that reaches the recall asked for."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from vitrina.errors import DataError, MissingExtra
from vitrina.index.base import Effort, IndexInfo, Kind, RowArray
from vitrina.index.faiss import FaissIndex
from vitrina.index.memory import TUNED_K, MemoryIndex
from vitrina.index.opening import build_kind
from vitrina.index.recall import overlap
from vitrina.settings import IndexSettings
from vitrina.space import Vectors, require_same_space

MAX_QUERIES: Final = 1000
"""More queries than this sharpen the measured recall by less than it varies between days."""
CLOCKED: Final = 200
"""Searches that a latency is taken from."""
CANDIDATES: Final[tuple[Kind, ...]] = (
    "exact",
    "ivf",
    "ivf_flat",
    "ivf_sq8",
    "ivf_pq",
    "rabitq",
    "hnsw",
    "scann",
)
"""What `tune_index` builds and measures."""
LEAST_TUNED: Final = 1000
"""Items below which there is nothing to tune: the exact scores of all take some microseconds."""
SHARES: Final = (0.9, 0.95, 0.98, 0.99, 0.995)
"""Recalls whose cost is measured beside that of the promise, so that the front can be seen."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One setting of one index, on user vectors.

    recall: share of exact search's k best that it finds; p50_ms, p99_ms: one query at a time in
    one thread; megabytes: of its file, the item vectors apart, which are there in any case.
    """

    kind: Kind
    effort: Effort
    recall: float
    p50_ms: float
    p99_ms: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The chosen index, how it is to be recorded, and everything that was measured.

    left_out: kinds that could not be built, and why.
    """

    index: MemoryIndex
    info: IndexInfo
    chosen: Measured
    measured: Sequence[Measured]
    left_out: Sequence[str]


def build_index(
    vectors: Vectors, settings: IndexSettings, queries: Vectors
) -> tuple[MemoryIndex, IndexInfo]:
    """Index `vectors` as the settings say, tuned and measured on `queries`.

    queries: real user vectors of the same space. Taste vectors lie elsewhere than item vectors,
    so an index tuned on items would promise a recall that shoppers do not get. Where no effort
    reaches it, the index is exact.
    Raises DataError if the index has to be tuned and there are no queries.
    """
    require_same_space(queries.space, vectors.space, "tuning queries", "item vectors")
    exact = FaissIndex.build(vectors)
    target = settings.recall_target
    kind: Kind = "ivf" if settings.kind == "auto" else settings.kind
    if kind == "exact" or (settings.kind == "auto" and len(vectors) <= settings.exact_below):
        return exact, IndexInfo("exact", 1.0, target)
    asked = _sample(queries)
    truth = exact.search(asked, TUNED_K)[1]
    index = build_kind(kind, vectors)
    found = _cheapest(index, _recalls(index, asked, truth), target, asked, TUNED_K)
    if found is None:
        return exact, IndexInfo("exact", 1.0, target)
    index.effort = found.effort
    return index, _info(index, found, target, TUNED_K)


def tune_index(
    vectors: Vectors,
    queries: Vectors,
    *,
    target: float,
    k: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Build every kind of index, and choose the fastest one whose recall@k reaches `target`.

    queries: as of `build_index`. An exact index reaches any target, so there is always a choice.
    Raises DataError if there are no queries.
    """
    require_same_space(queries.space, vectors.space, "tuning queries", "item vectors")
    asked = _sample(queries)
    truth = FaissIndex.build(vectors).search(asked, k)[1]
    measured: list[Measured] = []
    left_out: list[str] = []
    best: tuple[Measured, MemoryIndex] | None = None
    for kind in CANDIDATES if len(vectors) >= LEAST_TUNED else CANDIDATES[:1]:
        progress(kind)
        try:
            index = build_kind(kind, vectors)
        except MissingExtra as error:
            left_out.append(f"{kind}: {error}")
            continue
        megabytes, reached = _megabytes(index), 0.0
        recall = _recalls(index, asked, truth)
        for wanted in sorted({*SHARES, target}):
            if reached >= wanted:
                continue
            found = _cheapest(index, recall, wanted, asked, k)
            if found is None:
                break  # nor does any effort reach more
            found = replace(found, megabytes=megabytes)
            measured.append(found)
            reached = found.recall
            if found.recall >= target and (best is None or found.p50_ms < best[0].p50_ms):
                best = found, index
    assert best is not None, "an exact index finds everything"
    chosen, index = best
    index.effort = chosen.effort
    return Tuned(index, _info(index, chosen, target, k), chosen, measured, left_out)


def front(measured: Sequence[Measured]) -> list[Measured]:
    """Those that none beats in recall and latency at once, the fastest first."""
    kept: list[Measured] = []
    for one in sorted(measured, key=lambda one: (one.p50_ms, -one.recall)):
        if not kept or one.recall > kept[-1].recall:
            kept.append(one)
    return kept


def _recalls(index: MemoryIndex, queries: Vectors, truth: RowArray) -> Callable[[Effort], float]:
    """What sets an effort and returns its recall; none is measured twice."""
    known: dict[Effort, float] = {}

    def recall(effort: Effort) -> float:
        index.effort = effort
        if effort not in known:
            known[effort] = overlap(index.search(queries, truth.shape[1])[1], truth)
        return known[effort]

    return recall


def _cheapest(
    index: MemoryIndex,
    recall: Callable[[Effort], float],
    target: float,
    queries: Vectors,
    k: int,
) -> Measured | None:
    """The fastest effort that reaches the target: of each rescoring, the fewest lists."""
    fitting: list[Measured] = []
    for rescored in index.rescorings:

        def of_lists(lists: int, rescored: int = rescored) -> float:
            return recall(Effort(lists, rescored))

        # Recall only grows with the lists: a bisection finds the fewest.
        most = index.most_lists
        lists = 1 + bisect_left(range(1, most), target, key=of_lists) if most else 0
        reached = of_lists(lists)
        if reached >= target:
            p50, p99 = _clocked(index, queries, k)
            fitting.append(Measured(index.kind, index.effort, reached, p50, p99, 0.0))
    return min(fitting, key=lambda one: one.p50_ms, default=None)


def _clocked(index: MemoryIndex, queries: Vectors, k: int) -> tuple[float, float]:
    """p50 and p99 milliseconds of a search for one query."""
    singles = [Vectors(queries.space, one[None]) for one in queries.values[:CLOCKED]]
    for one in singles[: CLOCKED // 10]:
        index.search(one, k)
    times = []
    for one in singles:
        started = time.perf_counter_ns()
        index.search(one, k)
        times.append((time.perf_counter_ns() - started) / 1e6)
    return float(np.median(times)), float(np.percentile(times, 99))


def _megabytes(index: MemoryIndex) -> float:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index.save(path)
        return path.stat().st_size / 1e6


def _info(index: MemoryIndex, found: Measured, target: float, k: int) -> IndexInfo:
    effort, lists = found.effort, index.most_lists
    return IndexInfo(index.kind, found.recall, target, lists, effort.lists, effort.rescored, k)


def _sample(queries: Vectors) -> Vectors:
    """At most MAX_QUERIES of the queries, spread evenly over them. Raises DataError for none."""
    if not len(queries):
        raise DataError(
            "An index is tuned on user vectors, and there are none. Give it some, or set "
            "index.kind = 'exact'."
        )
    rows = np.linspace(0, len(queries) - 1, min(len(queries), MAX_QUERIES)).astype(np.int64)
    return Vectors(queries.space, queries.values[rows])
