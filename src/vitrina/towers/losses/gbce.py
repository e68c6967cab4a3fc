"""Binary cross-entropy that negative sampling does not make overconfident."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def gbce(
    user: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    scale: Tensor,
    weights: Tensor,
    *,
    calibration: float,
) -> Tensor:
    """Generalised binary cross-entropy of states, one target each, with shared negatives.

    For state n with target y and its K negatives i_k, those that are not y themselves, with
    p(n, i) = 1 / (1 + exp(−scale · ⟨user_n, item_i⟩)):

        −( ln p(n, y)^β + Σ_k ln(1 − p(n, i_k)) ) / (K + 1)
        β = rate · (t · (1 − 1/rate) + 1/rate) = 1 − t · (1 − rate),    rate = K / (M − 1)

    and of those the weighted mean. The sampling rate is the share of the other items that is looked
    at. With t = 1 the minimum has p calibrated, the probability of the item; with t = 0 this is
    ordinary binary cross-entropy, which takes the sample for the world and overestimates p. Source:
    Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling", RecSys 2023. There each state has negatives of its own; here they are
    shared. Scores [N, K] are in memory.

    user [N, d] and items [M, d]: unit vectors of one space, M at least 2. targets int64 [N] and
    negatives int64 [K]: rows of items; negatives drawn uniformly, without repeats. scale: one over
    the temperature, a scalar. weights [N], not negative: what each row counts. calibration: t, from
    0 to 1. Returns the weighted mean, in nats.
    """
    # `embedding`, because the gradient of `items[…]` adds up in an order that varies.
    positive = scale * (user * F.embedding(targets, items)).sum(dim=1)
    scores = scale * (user @ F.embedding(negatives, items).T)
    counted = negatives != targets[:, None]
    number = counted.sum(dim=1)
    power = 1 - calibration * (1 - number / (len(items) - 1))
    against = (F.softplus(scores) * counted).sum(dim=1)
    losses = (power * F.softplus(-positive) + against) / (number + 1)
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
