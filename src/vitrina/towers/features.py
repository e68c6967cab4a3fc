"""How much an item is wanted, as of a moment: what the item tower sees beside its content.

Only events strictly before the moment count.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitrina.encoding import SECONDS_PER_DAY
from vitrina.lake.sequences import Interactions

POPULARITY_WINDOWS_DAYS: Final = (7, 28, 91, 364)
NEWCOMER_WINDOWS_DAYS: Final = (28, 364)
FOUR_WEEKS: Final = POPULARITY_WINDOWS_DAYS.index(28)
"""Column of the popularity features that stands for what is popular now."""
POPULARITY_FEATURES: Final = len(POPULARITY_WINDOWS_DAYS) + len(NEWCOMER_WINDOWS_DAYS)


class PopularityFeatures:
    """How much an item is wanted, as of a moment.

    For each window of days before the moment: ln(1 + the item's share of the window's events, in
    1 / 100,000), counted once over all events and once over first events of (shopper, item)
    pairs alone, which tell how many newcomers an item wins.
    """

    def __init__(self, interactions: Interactions, items: int) -> None:
        self._items = items
        by_time = np.argsort(interactions.timestamp_us, kind="stable")
        self._moments = interactions.timestamp_us[by_time]
        self._rows = interactions.row[by_time]
        self._first = first_of_pair(interactions, items)[by_time]

    def at(self, moment_us: int) -> NDArray[np.float32]:
        """Features float32 [items, POPULARITY_FEATURES] from events before `moment_us` only."""
        windows = [(days, False) for days in POPULARITY_WINDOWS_DAYS]
        windows += [(days, True) for days in NEWCOMER_WINDOWS_DAYS]
        return np.stack([self._share(moment_us, *window) for window in windows], axis=1)

    def _share(self, moment_us: int, days: int, newcomers: bool) -> NDArray[np.float32]:
        start = moment_us - int(days * SECONDS_PER_DAY * 1e6)
        low, high = np.searchsorted(self._moments, [start, moment_us], side="left")
        rows = self._rows[low:high]
        if newcomers:
            rows = rows[self._first[low:high]]
        counts = np.bincount(rows, minlength=self._items)
        share: NDArray[np.float32] = np.log1p(counts * (1e5 / max(len(rows), 1))).astype(np.float32)
        return share


def first_of_pair(interactions: Interactions, items: int) -> NDArray[np.bool_]:
    """True [n] where an event is the first of its shopper with its item."""
    pair = interactions.user.astype(np.int64) * items + interactions.row
    first = np.zeros(len(pair), np.bool_)
    first[np.unique(pair, return_index=True)[1]] = True
    return first
