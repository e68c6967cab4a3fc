"""Spread: no shelf of twenty yoghurts."""

from __future__ import annotations

from collections import Counter
from itertools import chain
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
    if (group == group[:1]).all():  # such as a page of one category
        return np.arange(min(k, len(group)))
    # A walk that ends where the page is full meets few more candidates than it shows; arithmetic
    # over all of them meets hundreds.
    codes, coming, waiting = group.tolist(), iter(range(len(group))), list[int]()
    on_page: dict[int, int] = Counter(begun.tolist())
    found, room = list[int](), PAGE - len(begun)
    while len(found) < k:
        crowded = {code for code, count in on_page.items() if count >= MOST_PER_PAGE and code >= 0}
        page, held, queue = list[int](), list[int](), iter(waiting)
        for position in chain(queue, coming):
            code = codes[position]
            if code in crowded:
                held.append(position)
                continue
            on_page[code] = count = on_page.get(code, 0) + 1
            if count >= MOST_PER_PAGE and code >= 0:
                crowded.add(code)
            page.append(position)
            if len(page) == room:
                break
        waiting, missing = [*held, *queue], room - len(page)
        if missing:  # nothing else is left
            page += waiting[:missing]
            waiting = waiting[missing:]
            if not page:
                break
        found += page
        on_page, room = {}, PAGE
    return np.array(found[:k], np.int64)
