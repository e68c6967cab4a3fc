"""Spread: no shelf of twenty yoghurts."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

PAGE = 10
MOST_PER_PAGE = 3


NO_GROUPS: Final = np.zeros(0, np.int32)


def spread(
    group: NDArray[np.int32], k: int, begun: NDArray[np.int32] = NO_GROUPS
) -> NDArray[np.int64]:
    """Positions of the k to show, so that no group crowds a page.

    group int32 [n]: each candidate's group (say its category), best candidate first; -1 is no
    group and is never held back. A page is ten places, filled from the best candidate down; a
    fourth of its group waits for the next page, unless nothing else is left. Returns positions
    int64 [min(k, n)]; a shorter list is the beginning of a longer one.
    begun int32 [under PAGE]: the groups on a page that is not full yet, which is filled first. So a
    list goes on where it was left off as if it had never been.
    """
    left = np.arange(len(group))
    pages, wanted = [left[:0]], min(k, len(group))
    while wanted > 0:
        groups = group[left]
        place = _place_in_group(groups)
        if len(begun):
            place += (groups[:, None] == begun).sum(axis=1)
        waits = (place >= MOST_PER_PAGE) & (groups >= 0)
        order, room = np.argsort(waits, kind="stable"), PAGE - len(begun)
        pages.append(left[order[:room]])
        left, begun = left[np.sort(order[room:])], NO_GROUPS
        wanted -= room
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
