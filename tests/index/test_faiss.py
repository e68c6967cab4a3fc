"""What is particular to FAISS: choosing, tuning, damaged files, bad arguments."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.errors import BundleError, DataError, SpaceMismatch
from vitrina.filters import Filters, Selection
from vitrina.index.base import Effort, IndexInfo
from vitrina.index.faiss import FaissIndex, list_count
from vitrina.index.recall import overlap, recall_at_k
from vitrina.index.tuning import build_index
from vitrina.settings import IndexSettings
from vitrina.space import EmbeddingSpace, Vectors, normalise

SPACE = EmbeddingSpace("items_vtest", 16, "f" * 64)


def some_vectors(rows: int, seed: int = 0) -> Vectors:
    return Vectors(SPACE, normalise(np.random.default_rng(seed).standard_normal((rows, 16))))


def test_auto_scans_small_catalogs_and_lists_large_ones() -> None:
    settings = IndexSettings(exact_below=2000)
    for rows, kind in ((2000, "exact"), (2001, "ivf")):
        index, info = build_index(some_vectors(rows), settings, some_vectors(100, 1))
        assert index.kind == info.kind == kind
    assert build_index(some_vectors(50), settings, some_vectors(0))[1] == IndexInfo(
        "exact", 1.0, 0.99
    )


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99, 1.0])
def test_the_recall_asked_for_is_reached_and_told_truly(target: float) -> None:
    vectors, queries = some_vectors(6000), some_vectors(300, 1)
    index, info = build_index(vectors, IndexSettings(kind="ivf", recall_target=target), queries)
    measured = recall_at_k(index, FaissIndex.build(vectors), queries, 500)
    assert info.recall_at_500 == pytest.approx(measured)
    assert measured >= target
    assert (info.nlist, info.nprobe) == (index.most_lists, index.effort.lists)


def test_no_less_probing_would_have_reached_the_target() -> None:
    vectors, queries = some_vectors(6000), some_vectors(300, 1)
    index, info = build_index(vectors, IndexSettings(kind="ivf", recall_target=0.9), queries)
    index.effort = Effort(info.nprobe - 1)
    assert recall_at_k(index, FaissIndex.build(vectors), queries, 500) < 0.9


def test_building_twice_gives_the_same_answers() -> None:
    settings, queries = IndexSettings(kind="ivf", recall_target=0.8), some_vectors(50, 1)
    first, second = (build_index(some_vectors(3000), settings, queries)[0] for _ in "ab")
    np.testing.assert_array_equal(first.search(queries, 100)[1], second.search(queries, 100)[1])


def test_inverted_lists_without_queries_to_tune_on_are_refused() -> None:
    with pytest.raises(DataError, match="tuned on user vectors"):
        build_index(some_vectors(3000), IndexSettings(kind="ivf"), some_vectors(0))


@given(st.integers(1, 10**8))
def test_lists_are_a_power_of_two_and_never_starved(items: int) -> None:
    lists = list_count(items)
    assert lists & (lists - 1) == 0
    assert lists == 1 or items / lists >= 39
    assert lists <= 6 * items**0.5


def test_a_saved_index_is_an_ordinary_faiss_file(tmp_path: Path) -> None:
    FaissIndex.build(some_vectors(100)).save(tmp_path / "index.faiss")
    assert faiss.read_index(str(tmp_path / "index.faiss")).ntotal == 100


@pytest.mark.parametrize("content", [b"", b"not an index", b"\xff" * 2000])
def test_a_file_that_is_no_index_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "index.faiss"
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"index\.faiss is not an index"):
        FaissIndex.load(file, some_vectors(100))
    with pytest.raises(BundleError, match=r"missing\.faiss is not an index"):
        FaissIndex.load(tmp_path / "missing.faiss", some_vectors(100))


def test_an_index_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "index.faiss"
    FaissIndex.build(some_vectors(100)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + content[content.rindex(b"\n") :])
    with pytest.raises(BundleError, match="damaged"):
        FaissIndex.load(file, some_vectors(100))


def test_vectors_of_another_length_never_reach_the_index() -> None:
    with pytest.raises(SpaceMismatch, match=r"shape \(1, 8\)"):
        FaissIndex.build(some_vectors(10)).search(Vectors(SPACE, np.ones((1, 8), np.float32)), 1)


def test_a_search_leaves_the_threads_setting_alone() -> None:
    index, before = FaissIndex.build(some_vectors(10)), faiss.omp_get_max_threads()
    index.search(some_vectors(1), 3)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("allowed", [np.ones(10, np.int64), np.ones((2, 10), bool)])
def test_a_filter_that_is_no_mask_is_refused(allowed: np.ndarray) -> None:
    with pytest.raises(ValueError, match="bool array"):
        FaissIndex.build(some_vectors(10)).search(some_vectors(1), 3, Selection(Filters(), allowed))


def test_rows_past_the_masks_end_may_not_be_returned() -> None:
    allowed = Selection(Filters(), np.ones(10, bool))
    assert FaissIndex.build(some_vectors(50)).search(some_vectors(3), 20, allowed)[1].max() < 10


def test_a_loaded_index_can_be_changed_and_its_file_stays_as_it_was(tmp_path: Path) -> None:
    for kind in ("exact", "ivf"):
        settings, path = IndexSettings(kind=kind), tmp_path / kind
        build_index(some_vectors(3000), settings, some_vectors(50, 1))[0].save(path)
        before = path.read_bytes()
        loaded = FaissIndex.load(path, some_vectors(3000))
        loaded.upsert(np.array([3000]), some_vectors(1, 2))
        assert loaded.search(some_vectors(1, 2), 1)[1][0, 0] == 3000
        loaded.delete(np.array([3000]))
        assert loaded.search(some_vectors(1, 2), 1)[1][0, 0] != 3000
        assert path.read_bytes() == before


def test_overlap_counts_the_share_of_the_truth_that_was_found() -> None:
    truth = np.array([[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    found = np.array([[4, 9, 1, 8], [6, 5, -1, -1], [-1, -1, -1, -1]])
    assert overlap(found, truth) == pytest.approx((0.5 + 1.0) / 2)
