"""Softmax over the whole catalog."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vitrina.towers.losses.fused import fused_softmax


def full_softmax(
    user: Tensor,
    items: Tensor,
    targets: Tensor,
    scale: Tensor,
    weights: Tensor,
    *,
    products: torch.dtype | None = None,
) -> Tensor:
    """Softmax cross-entropy over all items, where the catalog is small enough to score it all.

    For state n and its target item y, with s(n, i) = scale · ⟨user_n, item_i⟩:

        Σ_n weight_n · ( ln Σ_i exp s(n, i) − s(n, y_n) ) / Σ_n weight_n

    The scores of all states are never in memory together; see `fused_softmax` for memory, precision
    (`products`) and source.

    user [N, d] and items [M, d]: unit vectors of one space. targets int64 [N]: rows of items.
    scale: one over the temperature, a scalar. weights [N], not negative: constants, what each row
    counts; if all are 0 so are loss and gradients. Returns the weighted mean, in nats.
    """
    # `embedding`, because the gradient of `items[…]` adds up in an order that varies.
    positive = scale * (user * F.embedding(targets, items)).sum(dim=1)
    return fused_softmax(positive, user, items, targets, scale, weights, products=products)
