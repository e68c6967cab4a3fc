"""Losses of the two-tower model, each a function. Which one when: docs/explanation/losses.md."""

from vitrina.towers.losses.full import full_softmax
from vitrina.towers.losses.gbce import gbce
from vitrina.towers.losses.matryoshka import over_lengths
from vitrina.towers.losses.sampled import mixed_log_q, sampled_softmax, shared_softmax
from vitrina.towers.losses.weights import row_weights, subsampling_weights

__all__ = [
    "full_softmax",
    "gbce",
    "mixed_log_q",
    "over_lengths",
    "row_weights",
    "sampled_softmax",
    "shared_softmax",
    "subsampling_weights",
]
