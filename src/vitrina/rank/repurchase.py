"""The repurchase model: how likely is an item bought before to be bought again soon?

A logistic regression on three facts of a (shopper, item) pair: how often it was bought, how much
of that is recent, and how often buyers of the item come back to it at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.encoding import SECONDS_PER_DAY
from vitrina.schema import RECENT_DAYS

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RepurchaseModel:
    """Coefficients of the log-odds that an item is bought again within the next weeks.

    log-odds = bias + count · ln(times bought) + recent · ln(1 + recent purchases)
    + repeat · ln(repeat rate of the item).
    """

    bias: float = -3.9
    count: float = 0.7
    recent: float = 1.6
    repeat: float = 0.55

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Coefficients by name; those missing keep their defaults."""
        return cls(**{name: float(values[name]) for name in asdict(cls()) if name in values})

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def log_odds(
        self,
        counts: NDArray[np.int64],
        recent: FloatArray,
        last_us: NDArray[np.int64],
        newest_us: int,
        repeat_rate: FloatArray,
    ) -> FloatArray:
        """Log-odds float32 [n] for n items a shopper has bought.

        counts [n]: times bought; recent [n] and last_us [n]: as in `schema.Purchases`;
        newest_us: the shopper's newest event, from which recency is measured, so that the order
        depends on the history alone; repeat_rate [n]: see `repeat_rates`.
        """
        features = repurchase_features(counts, recent, last_us, newest_us, repeat_rate)
        weights = np.array([self.count, self.recent, self.repeat], np.float32)
        return (self.bias + features @ weights).astype(np.float32)


def repurchase_features(
    counts: NDArray[np.int64],
    recent: FloatArray,
    last_us: NDArray[np.int64],
    newest_us: int | NDArray[np.int64],
    repeat_rate: FloatArray,
) -> FloatArray:
    """[ln count, ln(1 + recent as of newest_us), ln repeat rate] → float32 [n, 3]."""
    days = (newest_us - last_us) / (1e6 * SECONDS_PER_DAY)
    recent_now = recent * np.exp(-np.maximum(days, 0.0) / RECENT_DAYS)
    return np.array([np.log(counts), np.log1p(recent_now), np.log(repeat_rate)], np.float32).T


def repeat_rates(
    buyers: NDArray[np.int64], repeat_buyers: NDArray[np.int64], prior_buyers: float = 8.0
) -> FloatArray:
    """Share of an item's buyers who bought it more than once, drawn to a low rate where unknown.

    buyers, repeat_buyers int64 [items] → float32 [items], in (0, 1).
    """
    return ((repeat_buyers + 1.0) / (buyers + prior_buyers)).astype(np.float32)
