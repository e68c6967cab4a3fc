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
    code, place = _places(group)
    place[group < 0] = -len(group)
    already = (group[:, None] == begun).sum(axis=1) if len(begun) else 0
    left, found, room = np.ones(len(group), np.bool_), [], PAGE - len(begun)
    pages = 1 + max(0, -(-(k - room) // PAGE))
    for _ in range(pages):
        waits = place + already >= MOST_PER_PAGE
        page = np.flatnonzero(left & ~waits)[:room]
        if len(page) < room:
            page = np.concatenate([page, np.flatnonzero(left & waits)[: room - len(page)]])
        found.append(page)
        left[page] = False
        place -= np.bincount(code[page], minlength=len(group))[code]
        already, room = 0, PAGE
    return np.concatenate(found)[:k]


def _places(group: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each candidate's group as a number from 0, and how many of it stand before; int64 [n]."""
    by_group = np.argsort(group, kind="stable")
    begins = np.diff(group[by_group], prepend=group.min(initial=0) - 1) != 0
    number, starts = np.cumsum(begins) - 1, np.flatnonzero(begins)
    code, place = np.empty((2, len(group)), np.int64)
    code[by_group] = number
    place[by_group] = np.arange(len(group)) - starts[number]
    return code, place
