"""Losses of the two-tower model, each a function."""

from vitrina.towers.losses.full import full_softmax
from vitrina.towers.losses.sampled import sampled_softmax

__all__ = ["full_softmax", "sampled_softmax"]
