"""Vectors whose first numbers are vectors, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def over_lengths(
    loss: Callable[[Tensor, Tensor], Tensor], user: Tensor, items: Tensor, lengths: Sequence[int]
) -> Tensor:
    """The mean of a loss over vectors whole and cut to each of the lengths.

        1 / (|lengths| + 1) · ( loss(u, v) + Σ_m loss(u[:m] / ‖u[:m]‖, v[:m] / ‖v[:m]‖) )

    So that one model serves several sizes: what matters most comes first. Source: Kusupati et al.,
    "Matryoshka Representation Learning", NeurIPS 2022, eq. 1, with equal weights.

    user [N, d], items [M, d]: unit vectors of one space. lengths: each below d; none leaves the
    loss as it is. Returns what `loss` does, in its unit.
    """
    total = loss(user, items)
    for length in lengths:
        total = total + loss(cut(user, length), cut(items, length))
    return total / (len(lengths) + 1)


def cut(vectors: Tensor, length: int) -> Tensor:
    """The first `length` numbers of vectors [N, d], as unit vectors [N, length]."""
    return F.normalize(vectors[:, :length], dim=1)
