"""One thing that was compared, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the audit.

    subject: what was looked at. against: what it was compared with. numbers: how many. difference:
    the largest, None where the two have not even the same shape. sentence: what is wrong; empty if
    nothing is.
    """

    subject: str
    against: str
    numbers: int
    difference: float | None
    sentence: str = ""

    @property
    def leaks(self) -> bool:
        return bool(self.sentence)


def compared(
    subject: str,
    against: str,
    expected: Sequence[NDArray[Any]],
    found: Sequence[NDArray[Any]],
    sentence: str,
    *,
    tolerance: float = 0.0,
) -> Check:
    """A check that two sequences of arrays hold the same, each number to within `tolerance`.

    sentence: what it means if they do not. Texts are the same or differ by 1.
    """
    numbers = sum(array.size for array in expected)
    difference = largest_difference(expected, found)
    same = difference is not None and difference <= tolerance
    return Check(subject, against, numbers, difference, "" if same else sentence)


def largest_difference(
    expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]
) -> float | None:
    """Between numbers of the same place; None where shapes differ. NaN equals NaN only."""
    if [array.shape for array in expected] != [array.shape for array in found]:
        return None
    return max((_difference(*pair) for pair in zip(expected, found, strict=True)), default=0.0)


def _difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    if not a.size or np.array_equal(a, b):
        return 0.0
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return 1.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    apart = np.where(np.isnan(x) & np.isnan(y), 0.0, np.abs(x - y))
    return float(np.nan_to_num(apart, nan=np.finfo(np.float64).max).max())
