"""Softmax over the whole catalog, without ever holding the scores of all rows for all items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**27}
"""Scores in memory at a time: what stays in a processor's cache, or keeps a GPU busy."""

FEWEST_ROWS = 32
"""Of a chunk, however many items: each chunk passes over the gradient of the whole catalog."""


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

    Gradients are computed with the loss, for a few rows at a time, and only they are kept: memory
    is that of `user` and `items` twice over and a chunk of scores, whatever N · M is. Source of the
    idea: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", ICLR 2025, which
    also never stores the scores.

    user [N, d] and items [M, d]: unit vectors of one space. targets int64 [N]: rows of items.
    scale: one over the temperature, a scalar. weights [N], not negative: constants, what each row
    counts; rows of weight 0 change nothing, and if all are 0 so are loss and gradients.
    products: the type that matrix products take their factors in; by default `product_type`. Sums
    over the catalog are float32 (float64 for float64). Returns the weighted mean, in nats.

    Deterministic: chunks depend on M alone and are added in order. Differentiable once.
    """
    loss: Tensor = _FullSoftmax.apply(
        user, items, targets, scale, weights, products or product_type(user)
    )  # type: ignore[no-untyped-call]
    return loss


def product_type(like: Tensor) -> torch.dtype:
    """The type of matrix products: autocast's if that is on, bfloat16 on CPUs that multiply it.

    Elsewhere bfloat16 would be emulated, slower than float32, which is what is used. Tensors that
    are not float32 stay as they are.
    """
    device = like.device.type
    if like.dtype != torch.float32:
        return like.dtype
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    if device == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("avx512_bf16") or able.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        user: Tensor,
        items: Tensor,
        targets: Tensor,
        scale: Tensor,
        weights: Tensor,
        products: torch.dtype,
    ) -> Tensor:
        exact = torch.float64 if user.dtype == torch.float64 else torch.float32
        learning = any(ctx.needs_input_grad)
        # Scaled before it is rounded, so that the product is the score.
        scaled = (user * scale).to(products)
        catalog = items.to(products)
        weights = weights.to(exact)
        total = weights.sum().clamp(min=torch.finfo(exact).tiny)
        loss = torch.zeros((), dtype=exact, device=user.device)
        if learning:
            user_gradient = torch.empty(user.shape, dtype=exact, device=user.device)
            items_gradient = torch.zeros(items.shape, dtype=exact, device=user.device)
        rows = max(FEWEST_ROWS, LOGITS_AT_ONCE[user.device.type] // len(items))
        with torch.autocast(user.device.type, enabled=False):
            for start in range(0, len(user), rows):
                part = slice(start, start + rows)
                target, weight = targets[part, None], weights[part, None]
                scores = scaled[part] @ catalog.T
                p = torch.softmax(scores, dim=1, dtype=exact)
                # ln Σ exp of a row, from its likeliest item, whose p cannot underflow: no second
                # exponential over the catalog, which is what would take the time here.
                log_sum = scores.amax(1, keepdim=True).to(exact) - p.amax(1, keepdim=True).log()
                loss += (weight * (log_sum - scores.gather(1, target))).sum()
                if not learning:
                    continue
                # The gradient of a row's loss by its scores: p, less one at the target.
                error = p.scatter_add_(1, target, -torch.ones_like(weight)).to(products)
                # The weight goes into the narrow factors, not into rows as wide as the catalog.
                user_gradient[part] = weight * (error @ catalog)
                items_gradient += error.T @ (weight * scaled[part]).to(products)
        if learning:
            user_gradient /= total
            items_gradient /= total
            scale_gradient = (user * user_gradient).sum()
            user_gradient *= scale
            ctx.save_for_backward(
                user_gradient.to(user.dtype),
                items_gradient.to(items.dtype),
                scale_gradient.to(scale.dtype),
            )
        return loss / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        user, items, scale = ctx.saved_tensors
        return gradient * user, gradient * items, None, gradient * scale, None, None
