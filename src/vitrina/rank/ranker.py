"""The first ranker: every source's score brought to one scale, the odds of a purchase.

Repurchase scores are log-odds already (`rank.repurchase`). Retrieval scores are cosines, and
become log-odds by a logistic regression fitted when the bundle is made. A popularity penalty then
trades a little of that for discovery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.rank.candidates import FIRST_LIST, REPURCHASE, Candidates

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DiscoveryModel:
    """Coefficients of the log-odds that a retrieved item is bought within the next weeks.

    log-odds = bias + score · (cosine − penalty · ln(1 + popularity of the item)). The penalty
    counts on the discovery shelf alone, where the head of the catalog needs no help to be found.
    """

    bias: float = -9.0
    score: float = 6.0
    penalty: float = 0.001

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Coefficients by name; those missing keep their defaults."""
        return cls(**{name: float(values[name]) for name in asdict(cls()) if name in values})

    def to_json(self) -> dict[str, float]:
        return asdict(self)


class Ranker:
    """Orders the candidates of all sources. parameters: `ranking.json` of the bundle."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.discovery = DiscoveryModel.from_json(parameters.get("discovery", {}))

    def rank(self, candidates: Candidates, shelf: str, popularity: FloatArray) -> FloatArray:
        """Scores float32 [n], higher is better, in the order of `candidates`.

        popularity float32 [items]: the bundle's. Items of the precomputed lists, which stand in
        where nothing better is known, come below everything scored, list after list, each in the
        order of its scores.
        """
        model = self.discovery
        nearness: NDArray[np.floating] = candidates.scores
        if shelf == "discover" and model.penalty:
            nearness = nearness - model.penalty * np.log1p(popularity[candidates.rows])
        retrieved = model.bias + model.score * nearness
        scores = np.where(candidates.sources == REPURCHASE, candidates.scores, retrieved)
        listed = candidates.sources >= FIRST_LIST
        if listed.any():
            floor = scores[~listed].min(initial=0.0)
            tier = candidates.sources[listed] - FIRST_LIST
            scores[listed] = floor - tier - 1.0 / (1.0 + np.log1p(candidates.scores[listed]))
        return scores.astype(np.float32)
