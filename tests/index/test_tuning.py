"""Tuning: the choice keeps its promise, and nothing that was measured would have been better."""

from __future__ import annotations

import numpy as np
import pytest

from vitrina.errors import DataError
from vitrina.index.faiss import FaissIndex
from vitrina.index.recall import recall_at_k
from vitrina.index.tuning import CANDIDATES, front, tune_index
from vitrina.space import EmbeddingSpace, Vectors, normalise

SPACE = EmbeddingSpace("items_vtest", 16, "f" * 64)


def some_vectors(rows: int, seed: int = 0) -> Vectors:
    return Vectors(SPACE, normalise(np.random.default_rng(seed).standard_normal((rows, 16))))


def test_the_fastest_index_that_keeps_the_promise_is_chosen() -> None:
    vectors, queries = some_vectors(1500), some_vectors(40, 1)
    tuned = tune_index(vectors, queries, target=0.9, k=50)
    keeping = [one for one in tuned.measured if one.recall >= 0.9]
    assert tuned.chosen.p50_ms == min(one.p50_ms for one in keeping)
    found = recall_at_k(tuned.index, FaissIndex.build(vectors), queries, 50)
    assert found == pytest.approx(tuned.info.recall_at_500, abs=0.01)
    assert (tuned.info.kind, tuned.info.k, tuned.info.recall_target) == (tuned.chosen.kind, 50, 0.9)
    assert tuned.index.effort == tuned.chosen.effort
    assert {one.kind for one in tuned.measured} == set(CANDIDATES)
    assert tuned.chosen in front(keeping)


@pytest.mark.parametrize("items", [1, 5, 40])
def test_a_handful_of_items_is_tuned_too(items: int) -> None:
    tuned = tune_index(some_vectors(items), some_vectors(5, 1), target=0.9, k=500)
    assert (tuned.info.kind, tuned.info.recall_at_500) == ("exact", 1.0)


def test_nothing_on_the_front_is_beaten() -> None:
    tuned = tune_index(some_vectors(1000), some_vectors(20, 1), target=0.9, k=20)
    best = front(tuned.measured)
    assert best
    for kept in best:
        for other in tuned.measured:
            assert other.p50_ms >= kept.p50_ms or other.recall < kept.recall


def test_without_shoppers_nothing_is_promised() -> None:
    with pytest.raises(DataError, match="tuned on user vectors"):
        tune_index(some_vectors(50), some_vectors(0), target=0.9, k=10)
