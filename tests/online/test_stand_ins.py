"""The lists that stand in for the index: what goes with recent items, first of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.bundle import Bundle
from vitrina.bundle.lists import Lists
from vitrina.online.stand_ins import StandIns
from vitrina.rank.candidates import BEST_SELLER, CO_VISITED, POPULAR

ROWS = st.lists(st.integers(-1, 299), max_size=30).map(lambda rows: np.array(rows, np.int64))


@given(ROWS, ROWS.map(lambda rows: rows[rows >= 0]), st.integers(0, 2**16))
def test_any_past_gives_a_list_of_what_passes_each_item_once(
    bundle: Bundle, recent: np.ndarray, seen: np.ndarray, seed: int
) -> None:
    allowed = np.random.default_rng(seed).random(300) < 0.5
    found = StandIns(bundle, 100).near(recent, allowed, seen)
    assert len(set(found.rows.tolist())) == len(found) >= 100 - len(seen)
    assert allowed[found.rows].all()
    assert not set(found.rows.tolist()) & set(seen.tolist())
    assert (np.diff(found.sources) >= 0).all()  # list after list, the most personal first
    for source in (CO_VISITED, BEST_SELLER, POPULAR):
        assert (np.diff(found.scores[found.sources == source]) <= 0).all()


def test_the_newest_items_count_most(bundle: Bundle) -> None:
    covisited = np.full((300, 2), -1, np.int32)
    covisited[10], covisited[20], covisited[30] = [11, 12], [21, 12], [31, -1]
    lists = replace(bundle.lists, covisited=covisited)
    found = StandIns(replace(bundle, lists=lists), 5).near(np.array([20, 10, -1, 30]))
    named = found.keep(found.sources == CO_VISITED)
    assert named.rows.tolist() == [21, 12, 11, 31]  # 12 goes with two of them


def test_best_sellers_are_of_the_categories_looked_at(bundle: Bundle) -> None:
    found = StandIns(bundle, 5).near(np.array([3, 4]))
    sellers = found.keep(found.sources == BEST_SELLER)
    narrowest = bundle.catalog.narrowest
    assert set(narrowest[sellers.rows].tolist()) == set(narrowest[[3, 4]].tolist())


def test_a_bundle_without_lists_has_the_popular_items(bundle: Bundle) -> None:
    older = replace(bundle, lists=Lists.empty(300, len(bundle.catalog.categories)))
    found = StandIns(older, 5).near(np.array([3, 4]))
    assert found.rows.tolist() == bundle.popular_rows[:5].tolist()
    assert set(found.sources.tolist()) == {POPULAR}
