"""Precomputed lists in a bundle: what is shown when the index cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from vitrina.bundle.arrays import map_arrays
from vitrina.bundle.manifest import WAY_OUT
from vitrina.errors import BundleError

BEST_SELLERS: Final = 20
"""Items listed for each category; as many as a shelf shows."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Item rows, best first, -1 after the last.

    covisited int32 [items, m]: what is met in the same visits as each item
    (`towers.covisits`). best_sellers int32 [categories, b]: each category's most popular items
    that were available when the bundle was made.
    """

    covisited: NDArray[np.int32]
    best_sellers: NDArray[np.int32]

    @classmethod
    def empty(cls, items: int, categories: int) -> Self:
        """Of a bundle made before there were lists."""
        return cls(np.full((items, 0), -1, np.int32), np.full((categories, 0), -1, np.int32))

    def save(self, path: Path) -> None:
        """Write both to one file."""
        arrays = {"covisited": self.covisited, "best_sellers": self.best_sellers}
        save_file({name: np.ascontiguousarray(rows) for name, rows in arrays.items()}, path)

    @classmethod
    def load(cls, path: Path, items: int, categories: int) -> Self:
        """Map the file into memory. Raises BundleError for one that is not of these items."""
        arrays = map_arrays(path)
        try:
            lists = cls(arrays["covisited"], arrays["best_sellers"])
        except KeyError as error:
            raise BundleError(f"{path} has no list {error}. {WAY_OUT}") from error
        for rows, count in ((lists.covisited, items), (lists.best_sellers, categories)):
            if rows.dtype != np.int32 or rows.ndim != 2 or len(rows) != count:
                raise BundleError(
                    f"{path} holds {rows.dtype} lists of shape {rows.shape}, expected int32 for "
                    f"each of {count}. {WAY_OUT}"
                )
            if rows.size and not -1 <= rows.min() <= rows.max() < items:
                raise BundleError(f"{path} lists rows that {items} items do not have. {WAY_OUT}")
        return lists


def best_sellers(
    popularity: NDArray[np.float32],
    available: NDArray[np.bool_],
    category: NDArray[np.int32],
    categories: int,
    most: int = BEST_SELLERS,
) -> NDArray[np.int32]:
    """Each category's most popular available items: rows int32 [categories, most].

    popularity float32 [n]; available bool [n]; category int32 [n, levels]: codes, -1 for none.
    """
    lists = np.full((categories, most), -1, np.int32)
    for codes in category.T:
        rows = np.flatnonzero(available & (codes >= 0))
        rows = rows[np.lexsort((rows, -popularity[rows], codes[rows]))]
        code = codes[rows]
        place = np.arange(len(rows)) - np.searchsorted(code, code)
        listed = place < most
        lists[code[listed], place[listed]] = rows[listed]
    return lists
