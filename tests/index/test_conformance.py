"""What `VectorIndex` promises, held against brute force for each kind of index.

A new backend joins `BUILDERS` and runs every test unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vitrina.errors import DataError, SpaceMismatch
from vitrina.index.base import VectorIndex
from vitrina.index.faiss import FaissIndex
from vitrina.index.recall import overlap
from vitrina.index.tuning import build_index
from vitrina.settings import IndexSettings
from vitrina.space import EmbeddingSpace, Vectors, normalise

ITEMS, DIM, QUERIES, CLUSTERS = 4000, 24, 50, 40
SPACE = EmbeddingSpace("items_vtest", DIM, "f" * 64)
RECALL = 0.95

Builder = Callable[[Vectors], VectorIndex]


def build_ivf(vectors: Vectors) -> FaissIndex:
    index, _ = build_index(vectors, IndexSettings(kind="ivf", recall_target=0.99), queries())
    return index


BUILDERS: dict[str, Builder] = {"exact": FaissIndex.build, "ivf": build_ivf}


def clustered(seed: int, rows: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors around CLUSTERS centres, and each one's cluster."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM))
    rng = np.random.default_rng(seed)
    cluster = rng.integers(CLUSTERS, size=rows)
    values = normalise(centres[cluster] + 0.6 * rng.standard_normal((rows, DIM)))
    return Vectors(SPACE, values), cluster


def queries(rows: int = QUERIES) -> Vectors:
    return clustered(2, rows)[0]


@pytest.fixture(scope="module", params=BUILDERS)
def builder(request: pytest.FixtureRequest) -> Builder:
    return BUILDERS[request.param]


@pytest.fixture(scope="module")
def shared(builder: Builder) -> VectorIndex:
    """An index of `clustered(1, ITEMS)` that no test changes."""
    return builder(clustered(1, ITEMS)[0])


def brute_force(
    vectors: Vectors, asked: Vectors, k: int, allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    scores = np.where(allowed, asked.values @ vectors.values.T, -np.inf)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, rows, 1) > -np.inf, rows, -1)


@pytest.mark.parametrize("k", [1, 10, 500, ITEMS, ITEMS + 10])
def test_a_search_finds_what_brute_force_finds(shared: VectorIndex, k: int) -> None:
    vectors, _ = clustered(1, ITEMS)
    scores, rows = shared.search(queries(), k)
    assert scores.shape == rows.shape == (QUERIES, k)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    truth = brute_force(vectors, queries(), k, np.ones(ITEMS, bool))
    assert overlap(rows, truth) >= RECALL


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.02, 0.001])
@pytest.mark.parametrize("k", [1, 20, 500])
def test_a_random_filter_is_kept_and_costs_no_recall(
    shared: VectorIndex, share: float, k: int
) -> None:
    allowed = np.random.default_rng(3).random(ITEMS) < share
    check_filtered(shared, allowed, k)


@pytest.mark.parametrize("clusters", [20, 5, 1])
def test_a_filter_on_one_corner_of_the_space_still_fills_the_shelf(
    shared: VectorIndex, clusters: int
) -> None:
    """A category filter: allowed rows lie together, and most queries come from elsewhere."""
    check_filtered(shared, clustered(1, ITEMS)[1] < clusters, 100)


def check_filtered(index: VectorIndex, allowed: NDArray[np.bool_], k: int) -> None:
    vectors, _ = clustered(1, ITEMS)
    scores, rows = index.search(queries(), k, allowed)
    found = rows >= 0
    assert allowed[rows[found]].all()
    assert (found.sum(axis=1) == min(k, allowed.sum())).all()
    assert (scores[~found] == -np.inf).all()
    assert overlap(rows, brute_force(vectors, queries(), k, allowed)) >= RECALL


def test_a_filter_that_nothing_passes_finds_nothing(shared: VectorIndex) -> None:
    scores, rows = shared.search(queries(), 5, np.zeros(ITEMS, bool))
    assert (rows == -1).all()
    assert (scores == -np.inf).all()


def test_rows_past_the_filters_end_may_not_be_returned(shared: VectorIndex) -> None:
    _, rows = shared.search(queries(), 5, np.ones(100, bool))
    assert rows.max() < 100


def test_scores_are_inner_products_highest_first(shared: VectorIndex) -> None:
    vectors, _ = clustered(1, ITEMS)
    scores, rows = shared.search(queries(), 30)
    expected = np.einsum("qd,qkd->qk", queries().values, vectors.values[rows])
    np.testing.assert_allclose(scores, expected, atol=1e-3)  # an index may hold float16
    assert (np.diff(scores, axis=1) <= 0).all()


def test_one_query_gets_the_answer_it_gets_in_a_batch(shared: VectorIndex) -> None:
    scores, rows = shared.search(queries(), 20)
    alone = Vectors(SPACE, queries().values[7:8])
    np.testing.assert_allclose(shared.search(alone, 20)[0][0], scores[7], atol=1e-5)
    assert overlap(shared.search(alone, 20)[1], rows[7:8]) == 1.0


def test_an_added_item_is_found_and_a_removed_one_is_not(builder: Builder) -> None:
    index = builder(clustered(1, ITEMS)[0])
    new = queries(3)
    rows = np.array([ITEMS, ITEMS + 1, ITEMS + 50])
    index.add(rows, new)
    assert index.search(new, 1)[1][:, 0].tolist() == rows.tolist()
    index.remove(np.array([ITEMS, 999_999, -1]))
    found = index.search(new, 1)[1][:, 0].tolist()
    assert found[0] != ITEMS
    assert found[1:] == rows[1:].tolist()
    index.add(rows[:1], Vectors(SPACE, new.values[:1]))
    assert index.search(new, 1)[1][0, 0] == ITEMS


def test_removed_rows_do_not_count_as_passing_a_filter(builder: Builder) -> None:
    index = builder(clustered(1, ITEMS)[0])
    allowed = np.zeros(ITEMS, bool)
    allowed[:10] = True
    index.remove(np.arange(8))
    _, rows = index.search(queries(), 5, allowed)
    assert {row for row in np.unique(rows).tolist() if row >= 0} == {8, 9}


@pytest.mark.parametrize("rows", [[0], [ITEMS, ITEMS], [-1]])
def test_a_row_that_is_taken_or_given_twice_or_negative_is_refused(
    builder: Builder, rows: list[int]
) -> None:
    index = builder(clustered(1, ITEMS)[0])
    with pytest.raises(ValueError, match="Row"):
        index.add(np.array(rows), queries(len(rows)))
    assert (index.search(queries(), 5)[1] < ITEMS).all()


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 3.0, 0.0])
def test_vectors_that_are_not_unit_vectors_are_refused(builder: Builder, spoil: float) -> None:
    vectors, _ = clustered(1, ITEMS)
    values = vectors.values.copy()
    values[17] = spoil
    with pytest.raises(DataError, match=r"Vector 17 has length .* \(1 such"):
        builder(Vectors(SPACE, values))


def test_a_query_of_nan_is_refused(shared: VectorIndex) -> None:
    with pytest.raises(DataError, match="NaN"):
        shared.search(Vectors(SPACE, np.full((1, DIM), np.nan, np.float32)), 5)


def test_vectors_of_another_space_are_refused_naming_both(builder: Builder) -> None:
    index = builder(clustered(1, ITEMS)[0])
    other = replace(SPACE, version="items_vother", fingerprint="e" * 64)
    stranger = Vectors(other, queries().values)
    with pytest.raises(SpaceMismatch, match=r"items_vother.*items_vtest"):
        index.search(stranger, 5)
    with pytest.raises(SpaceMismatch, match=r"items_vother.*items_vtest"):
        index.add(np.arange(ITEMS, ITEMS + QUERIES), stranger)


def test_a_saved_index_answers_as_before(builder: Builder, tmp_path: Path) -> None:
    index = builder(clustered(1, ITEMS)[0])
    index.remove(np.arange(0, ITEMS, 7))
    index.save(tmp_path / "index")
    loaded = type(index).load(tmp_path / "index", SPACE)
    allowed = np.arange(ITEMS) % 3 == 0
    for mask in (None, allowed):
        before, after = index.search(queries(), 50, mask), loaded.search(queries(), 50, mask)
        np.testing.assert_array_equal(after[1], before[1])
        np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    with pytest.raises(ValueError, match="already in the index"):
        loaded.add(np.array([1]), queries(1))


def test_a_loaded_index_can_be_changed_and_its_file_stays_as_it_was(
    builder: Builder, tmp_path: Path
) -> None:
    index = builder(clustered(1, ITEMS)[0])
    index.save(tmp_path / "index")
    before = (tmp_path / "index").read_bytes()
    loaded = type(index).load(tmp_path / "index", SPACE)
    loaded.add(np.array([ITEMS]), queries(1))
    assert loaded.search(queries(1), 1)[1][0, 0] == ITEMS
    loaded.remove(np.array([ITEMS]))
    assert loaded.search(queries(1), 1)[1][0, 0] != ITEMS
    assert (tmp_path / "index").read_bytes() == before


def test_loading_into_another_space_is_refused(shared: VectorIndex, tmp_path: Path) -> None:
    shared.save(tmp_path / "index")
    with pytest.raises(SpaceMismatch, match=r"items_vtest.*items_vother"):
        type(shared).load(tmp_path / "index", replace(SPACE, version="items_vother"))
