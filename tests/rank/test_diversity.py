"""Spread: no group crowds a page, and nothing is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitrina.rank.diversity import MOST_PER_PAGE, PAGE, spread

groups = st.lists(st.integers(-1, 4), max_size=60)


def shown(group: list[int], k: int) -> list[int]:
    found: list[int] = spread(np.array(group, np.int32), k).tolist()
    return found


@given(groups, st.integers(0, 70))
def test_the_list_holds_each_candidate_at_most_once(group: list[int], k: int) -> None:
    found = shown(group, k)
    assert len(found) == len(set(found)) == min(k, len(group))
    assert set(found) <= set(range(len(group)))
    assert set(shown(group, len(group))) == set(range(len(group)))


@given(groups, st.integers(0, 60))
def test_a_shorter_list_is_the_beginning_of_a_longer_one(group: list[int], k: int) -> None:
    assert shown(group, k) == shown(group, 70)[:k]


@given(groups, st.lists(st.integers(1, 25), min_size=1, max_size=6))
def test_a_list_goes_on_where_it_was_left_off(group: list[int], sizes: list[int]) -> None:
    codes, left, pages = np.array(group, np.int32), np.arange(len(group)), []
    for size in sizes:
        begun = codes[pages[len(pages) - len(pages) % PAGE :]]
        page = left[spread(codes[left], size, begun)]
        pages += page.tolist()
        left = np.setdiff1d(left, page)
    assert pages == shown(group, sum(sizes))


@given(groups)
def test_a_group_keeps_the_order_of_its_candidates(group: list[int]) -> None:
    found = shown(group, len(group))
    for code in set(group):
        mine = [position for position in found if group[position] == code]
        assert mine == sorted(mine)


@given(groups)
def test_the_first_page_has_at_most_three_of_a_group_while_others_last(group: list[int]) -> None:
    """A fourth of a group comes only when no candidate is left that would be no fourth."""
    page = shown(group, PAGE)
    counts = {code: sum(group[p] == code for p in page) for code in set(group) - {-1}}
    crowded = {code for code, count in counts.items() if count > MOST_PER_PAGE}
    left = set(range(len(group))) - set(page)
    if crowded:
        assert not [p for p in left if group[p] == -1 or counts.get(group[p], 0) < MOST_PER_PAGE]


@given(groups)
def test_candidates_without_a_group_are_never_held_back(group: list[int]) -> None:
    found = shown(group, len(group))
    for place, position in enumerate(found):
        if group[position] == -1:
            assert place <= position


@given(st.lists(st.integers(0, 100), unique=True, max_size=40))
def test_a_list_that_is_spread_already_stays_as_it_is(group: list[int]) -> None:
    assert shown(group, len(group)) == list(range(len(group)))


def test_twenty_yoghurts_make_room() -> None:
    yoghurts_then_others = [0] * 20 + list(range(1, 31))
    page = shown(yoghurts_then_others, PAGE)
    assert page == [0, 1, 2, *range(20, 27)]
