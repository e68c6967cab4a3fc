"""Spread: no shelf of twenty yoghurts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PAGE = 10
MOST_PER_PAGE = 3


def spread(group: NDArray[np.int32], k: int) -> NDArray[np.int64]:
    """Positions of the k to show, so that no group crowds a page.

    group int32 [n]: each candidate's group (say its category), best candidate first; -1 is no
    group and is never held back. A page is ten places, filled from the best candidate down; a
    fourth of its group waits for the next page, unless nothing else is left. Returns positions
    int64 [min(k, n)]; a shorter list is the beginning of a longer one.
    """
    left = np.arange(len(group))
    pages = [left[:0]]
    for _ in range(0, min(k, len(group)), PAGE):
        waits = (_place_in_group(group[left]) >= MOST_PER_PAGE) & (group[left] >= 0)
        order = np.argsort(waits, kind="stable")
        pages.append(left[order[:PAGE]])
        left = left[np.sort(order[PAGE:])]
    return np.concatenate(pages)[:k]


def _place_in_group(group: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many of its group stand before each candidate, int64 [n]."""
    by_group = np.argsort(group, kind="stable")
    sorted_group = group[by_group]
    starts = np.r_[True, sorted_group[1:] != sorted_group[:-1]][: len(group)]
    first_of_group = np.maximum.accumulate(np.where(starts, np.arange(len(group)), 0))
    place = np.empty(len(group), np.int64)
    place[by_group] = np.arange(len(group)) - first_of_group
    return place
