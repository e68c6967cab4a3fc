"""Spread: no shelf of twenty yoghurts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(group: NDArray[np.int32], k: int, most_per_group: int) -> NDArray[np.int64]:
    """Positions of the k best, taking at most `most_per_group` of one group while others last.

    group int32 [n]: each candidate's group (say its category), best candidate first; -1 is no
    group and is never held back. Returns positions int64 [min(k, n)], best first: those within
    the limit in their order, then, only if they are fewer than k, those over it.
    """
    by_group = np.argsort(group, kind="stable")
    sorted_group = group[by_group]
    starts = np.r_[True, sorted_group[1:] != sorted_group[:-1]][: len(group)]
    first_of_group = np.maximum.accumulate(np.where(starts, np.arange(len(group)), 0))
    place = np.empty(len(group), np.int64)
    place[by_group] = np.arange(len(group)) - first_of_group
    over = (place >= most_per_group) & (group >= 0)
    return np.argsort(over, kind="stable")[:k]
