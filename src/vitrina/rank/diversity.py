"""Spread: no shelf of twenty yoghurts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PAGE = 10
MOST_PER_PAGE = 3


def spread(group: NDArray[np.int32], k: int) -> NDArray[np.int64]:
    """Positions of the k to show, so that no group crowds a page.

    group int32 [n]: each candidate's group (say its category), best candidate first; -1 is no
    group and is never held back. A page is ten places; the candidates of a group come at most
    three to a page, later ones move to the pages behind, and what fills their places keeps its
    order. Returns positions int64 [min(k, n)]; a shorter list is the beginning of a longer one.
    """
    by_group = np.argsort(group, kind="stable")
    sorted_group = group[by_group]
    starts = np.r_[True, sorted_group[1:] != sorted_group[:-1]][: len(group)]
    first_of_group = np.maximum.accumulate(np.where(starts, np.arange(len(group)), 0))
    place = np.empty(len(group), np.int64)
    place[by_group] = np.arange(len(group)) - first_of_group
    due = np.arange(len(group)) // PAGE
    page = np.where(group >= 0, np.maximum(due, place // MOST_PER_PAGE), due)
    return np.argsort(page, kind="stable")[:k]
