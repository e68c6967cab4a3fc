"""The softmax of one positive a row against many candidates that all rows share, fused."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**27}
"""Scores in memory at a time: what stays in a processor's cache, or keeps a GPU busy."""

FEWEST_ROWS = 32
"""Of a chunk, however many candidates: each chunk passes over the gradient of all of them."""


def fused_softmax(
    positive: Tensor,
    user: Tensor,
    candidates: Tensor,
    targets: Tensor,
    scale: Tensor,
    weights: Tensor,
    *,
    rows: Tensor | None = None,
    log_q: Tensor | None = None,
    products: torch.dtype | None = None,
) -> Tensor:
    """Cross-entropy of a positive among candidates, the matrix of all scores never in memory.

    For row n, with s(n, c) = scale · ⟨user_n, cand_c⟩ − ln q_c over candidates that are not n's own
    target:

        Σ_n weight_n · −ln( exp positive_n / (exp positive_n + Σ_c exp s(n, c)) ) / Σ_n weight_n

    Gradients are computed with the loss, for a few rows at a time, and only they are kept: memory
    is that of `user` and `candidates` twice over and a chunk of scores, whatever N · C is. Source
    of the idea: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", ICLR 2025,
    which also never stores the scores.

    positive [N]: scores of the targets. user [N, d], candidates [C, d]. targets int64 [N]: rows of
    items. rows int64 [C]: which item each candidate is; without it, candidate c is item c. log_q
    [C]. scale: a scalar. weights [N], not negative: constants; rows of weight 0 change nothing, and
    if all are 0 so are loss and gradients. products: the type that matrix products take their
    factors in; by default `product_type`. Sums over candidates are float32 (float64 for float64).
    Returns the weighted mean, in nats.

    Deterministic: chunks depend on C alone and are added in order. Differentiable once.
    """
    products = products or product_type(user)
    loss: Tensor = _FusedSoftmax.apply(
        positive, user, candidates, targets, scale, weights, rows, log_q, products
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


class _FusedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        positive: Tensor,
        user: Tensor,
        candidates: Tensor,
        targets: Tensor,
        scale: Tensor,
        weights: Tensor,
        rows: Tensor | None,
        log_q: Tensor | None,
        products: torch.dtype,
    ) -> Tensor:
        exact = torch.float64 if user.dtype == torch.float64 else torch.float32
        learning = any(ctx.needs_input_grad)
        # Scaled before it is rounded, so that the product is the score.
        scaled, narrow = (user * scale).to(products), candidates.to(products)
        weights = weights.to(exact)
        total = weights.sum().clamp(min=torch.finfo(exact).tiny)
        loss = torch.zeros((), dtype=exact, device=user.device)
        positive_gradient = torch.empty_like(weights)
        user_gradient = torch.empty_like(user, dtype=exact)
        candidates_gradient = torch.zeros_like(candidates, dtype=exact)
        step = max(FEWEST_ROWS, LOGITS_AT_ONCE[user.device.type] // len(candidates))
        # The same memory for all chunks: what is freed with each comes back from the system as
        # pages to be cleared, or stays with the process in pieces that fit nothing else.
        narrow_chunk = torch.empty(
            min(step, len(user)), len(candidates), dtype=products, device=user.device
        )
        chunk = narrow_chunk if products == exact else torch.empty_like(narrow_chunk, dtype=exact)
        with torch.autocast(user.device.type, enabled=False):
            for start in range(0, len(user), step):
                part = slice(start, start + step)
                target, weight = targets[part, None], weights[part, None]
                count = len(target)
                torch.mm(scaled[part], narrow.T, out=narrow_chunk[:count])
                scores = chunk[:count].copy_(narrow_chunk[:count])
                if log_q is not None:
                    scores -= log_q
                # Finite, so that a row where nothing is left is no special case.
                nothing = torch.finfo(exact).min
                if rows is None:
                    scores.scatter_(1, target, nothing)
                else:
                    scores.masked_fill_(rows == target, nothing)
                highest = scores.amax(1, keepdim=True)
                odds = scores.sub_(highest).exp_()
                total_odds = odds.sum(1, keepdim=True)
                margin = highest + total_odds.log() - positive[part, None]
                loss += (weight * F.softplus(margin)).sum()
                if not learning:
                    continue
                # Gradients: −wrong by the positive, wrong · odds / total by the scores. What each
                # row is multiplied by goes into the narrow factors, not into rows as wide as there
                # are candidates.
                wrong = weight * torch.sigmoid(margin)
                share = wrong / total_odds
                odds = narrow_chunk[:count].copy_(odds)
                positive_gradient[part] = -wrong[:, 0]
                user_gradient[part] = share * (odds @ narrow)
                candidates_gradient += odds.T @ (share * scaled[part]).to(products)
        if learning:
            scale_gradient = (user * user_gradient).sum()
            ctx.save_for_backward(
                (positive_gradient / total).to(positive.dtype),
                (user_gradient / total * scale).to(user.dtype),
                (candidates_gradient / total).to(candidates.dtype),
                (scale_gradient / total).to(scale.dtype),
            )
        return loss / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positive, user, candidates, scale = (gradient * each for each in ctx.saved_tensors)
        return positive, user, candidates, None, scale, None, None, None, None
