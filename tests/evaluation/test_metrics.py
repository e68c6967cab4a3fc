"""Metrics against loops a reader can check by eye."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vitrina.evaluation.metrics import (
    Bootstrap,
    accuracy,
    coverage,
    hits,
    intra_list_diversity,
    mean_popularity,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)
from vitrina.space import normalise

ITEMS, DEPTH = 12, 10

lists = st.lists(
    st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=DEPTH), min_size=1, max_size=5
)
wanted = st.sets(st.integers(0, ITEMS - 1), min_size=1)


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    ranked = draw(lists)
    return ranked, [draw(wanted) for _ in ranked]


def padded(ranked: list[list[int]], depth: int = DEPTH) -> NDArray[np.int64]:
    return np.array([row + [-1] * (depth - len(row)) for row in ranked], np.int64)


def matrix(targets: list[set[int]]) -> sp.csr_matrix:
    dense = np.zeros((len(targets), ITEMS), np.float32)
    for shopper, items in enumerate(targets):
        dense[shopper, sorted(items)] = 1
    return sp.csr_matrix(dense)


def brute_recall(ranked: list[int], targets: set[int], k: int) -> float:
    return len(targets & set(ranked[:k])) / len(targets)


def brute_ndcg(ranked: list[int], targets: set[int], k: int) -> float:
    gain = sum(1 / math.log2(i + 2) for i, item in enumerate(ranked[:k]) if item in targets)
    return gain / sum(1 / math.log2(i + 2) for i in range(min(k, len(targets))))


def brute_reciprocal(ranked: list[int], targets: set[int]) -> float:
    return next((1 / (i + 1) for i, item in enumerate(ranked) if item in targets), 0.0)


@given(judged(), st.integers(1, DEPTH))
def test_accuracy_is_what_the_definitions_say(
    world: tuple[list[list[int]], list[set[int]]], k: int
) -> None:
    ranked, targets = world
    hit = hits(padded(ranked), matrix(targets))
    count = np.array([len(items) for items in targets])
    pairs = list(zip(ranked, targets, strict=True))
    assert recall_at_k(hit, count, k) == pytest.approx([brute_recall(*p, k) for p in pairs])
    assert ndcg_at_k(hit, count, k) == pytest.approx([brute_ndcg(*p, k) for p in pairs])
    assert reciprocal_rank(hit) == pytest.approx([brute_reciprocal(*p) for p in pairs])
    found = accuracy(padded(ranked, 100), matrix(targets))
    assert found["recall@10"] == pytest.approx([brute_recall(*p, 10) for p in pairs])
    assert found["recall@100"] == pytest.approx([brute_recall(*p, 100) for p in pairs])
    assert found["ndcg@10"] == pytest.approx([brute_ndcg(*p, 10) for p in pairs])
    assert found["mrr"] == pytest.approx([brute_reciprocal(*p) for p in pairs])


def test_a_perfect_list_scores_one_however_many_targets_there_are() -> None:
    everything = list(range(ITEMS))
    for count in (1, 3, ITEMS):
        hit = hits(padded([everything], ITEMS), matrix([set(range(count))]))
        assert ndcg_at_k(hit, np.array([count]), 5) == pytest.approx([1.0])
        assert reciprocal_rank(hit) == [1.0]
    assert recall_at_k(hit, np.array([ITEMS]), 3) == pytest.approx([0.25]), "three of twelve"


def test_what_has_ended_is_no_hit_of_the_shopper_before() -> None:
    """-1 of the second shopper must not read as the last item of the first one."""
    hit = hits(padded([[0], []]), matrix([{ITEMS - 1}, {0}]))
    assert not hit.any()


@given(lists, st.integers(1, DEPTH))
def test_coverage_counts_what_is_shown_to_anybody(ranked: list[list[int]], k: int) -> None:
    shown = {item for row in ranked for item in row[:k]}
    assert coverage(padded(ranked), ITEMS, k) == pytest.approx(len(shown) / ITEMS)


@given(lists, st.integers(1, DEPTH), st.integers(0, 99))
def test_diversity_is_one_less_the_mean_cosine_of_pairs(
    ranked: list[list[int]], k: int, seed: int
) -> None:
    vectors = normalise(np.random.default_rng(seed).standard_normal((ITEMS, 4)))
    spreads = []
    for row in ranked:
        cosines = [float(vectors[a] @ vectors[b]) for a, b in combinations(row[:k], 2)]
        if cosines:
            spreads.append(1 - sum(cosines) / len(cosines))
    expected = sum(spreads) / len(spreads) if spreads else 0.0
    assert intra_list_diversity(padded(ranked), vectors, k) == pytest.approx(expected, abs=1e-5)


def test_popularity_is_a_percentile() -> None:
    counts = np.array([5.0, 0.0, 9.0, 1.0, 3.0])
    assert mean_popularity(np.array([[2, -1, -1]]), counts, 3) == 1.0
    assert mean_popularity(np.array([[1]]), counts, 1) == 0.0
    assert mean_popularity(np.array([[2, 1], [4, -1]]), counts, 2) == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(0, 99))
def test_an_interval_contains_its_mean(values: list[float], seed: int) -> None:
    found = Bootstrap(len(values), 200, seed).interval(np.array(values))
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["low"] - 1e-9 <= found["mean"] <= found["high"] + 1e-9


def test_intervals_shrink_with_the_root_of_the_shoppers() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for shoppers in (100, 400, 1600):
        found = Bootstrap(shoppers, 1000).interval(rng.random(shoppers))
        widths.append(found["high"] - found["low"])
        assert widths[-1] == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / shoppers), rel=0.2)
    assert widths[0] > widths[1] > widths[2]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    boot = Bootstrap(120, 400)
    inside = 0
    for _ in range(300):
        found = boot.interval((rng.random(120) < 0.3).astype(np.float64))
        inside += found["low"] <= 0.3 <= found["high"]
    assert 0.88 < inside / 300 <= 0.99


def test_methods_are_compared_pair_by_pair() -> None:
    """A small gain for everybody is certain, though the two intervals overlap."""
    rng = np.random.default_rng(0)
    worse = rng.random(200)
    boot = Bootstrap(200, 500)
    ours, theirs = boot.interval(worse + 0.01), boot.interval(worse)
    difference = boot.interval((worse + 0.01) - worse)
    assert ours["low"] < theirs["high"]
    assert difference["low"] == pytest.approx(0.01)


def test_nobody_to_judge_is_nothing_found() -> None:
    assert Bootstrap(0, 100).interval(np.zeros(0)) == {"mean": 0.0, "low": 0.0, "high": 0.0}
