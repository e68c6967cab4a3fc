"""Softmax against a sample of the catalog, corrected for how the sample was drawn.

Both losses want to know how often each item is expected among the negatives: a sum over the sample
in which each item is divided by that is an unbiased estimate of the sum over the catalog. What they
do about the positive, which is there by certainty and not by chance, is their `correction`:

    "classic": it is divided like the rest. Yi et al., "Sampling-Bias-Corrected Neural Modeling for
        Large Corpus Item Recommendations", RecSys 2019, section 3.
    "refined": it is left as it is. Khrylchenko et al., "Correcting the LogQ Correction: Revisiting
        Sampled Softmax for Large-Scale Retrieval", RecSys 2025, section 3.3. They write

            −sg(1 − P) · ln( exp s(y) / Σ_c exp(s(c) − ln q'_c) ),
            P = exp s(y) / (exp s(y) + 1/K · Σ_c exp(s(c) − ln q'_c)),

        over K negatives c ≠ y drawn with probability q', where sg stops the gradient. That has the
        gradient of −ln P, which is what is computed here: an estimate of the full softmax's loss.

The two are the same where the positive is expected once.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vitrina.towers.losses.fused import fused_softmax

MASKED = -1e9
"""The score of what does not count: finite, so that a row without negatives is no special case."""

Correction = Literal["classic", "refined"]


def sampled_softmax(
    user: Tensor,
    candidates: Tensor,
    log_q: Tensor,
    positives: Tensor,
    excluded: Tensor,
    scale: Tensor,
    weights: Tensor,
    *,
    correction: Correction = "classic",
) -> Tensor:
    """Sampled softmax over distinct candidates shared by the batch, several positives a shopper.

    For shopper b and each of its positives p, with s(b, c) = scale · ⟨user_b, cand_c⟩ − ln q_c:

        −ln( exp s(b, p) / (exp s(b, p) + Σ_c exp s(b, c)) )

    where c runs over the candidates that are neither a positive of b nor excluded for b, and q_c is
    the probability that c is among the candidates at all; "refined" leaves ln q_p out of s(b, p).
    Popular items, which are in every batch, are not pushed down for it. Sources: the module's;
    shared in-batch and sampled negatives: Yang et al., "Mixed Negative Sampling for Learning
    Two-tower Neural Networks in Recommendations", WWW 2020.

    user [B, d] and candidates [C, d]: unit vectors of one space. log_q [C]. positives int64
    [B, P]: positions in candidates, repeats allowed. excluded bool [B, C]. scale: one over the
    temperature, a scalar. weights [B]: of each shopper, mean 1. Returns the mean, in nats.
    """
    scores = scale * (user @ candidates.T)
    positive = scores.gather(1, positives)
    if correction == "classic":
        positive = positive - log_q[positives]
    negative = (scores - log_q).masked_fill(excluded, MASKED).scatter(1, positives, MASKED)
    # As a softplus, which is precise where one side is much larger than the other.
    losses = F.softplus(torch.logsumexp(negative, dim=1, keepdim=True) - positive)
    return (losses.mean(dim=1) * weights).mean()


def shared_softmax(
    user: Tensor,
    items: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    scale: Tensor,
    weights: Tensor,
    *,
    correction: Correction = "classic",
) -> Tensor:
    """Sampled softmax of many states, one target each, against negatives that all of them share.

    For state n and its target y, with s(n, i) = scale · ⟨user_n, item_i⟩ − ln q_i:

        Σ_n weight_n · −ln( exp s(n, y) / (exp s(n, y) + Σ_k exp s(n, i_k)) ) / Σ_n weight_n

    where i_k runs over the negatives other than y, once for each time that they were drawn, and q_i
    is how often i is expected among them (`mixed_log_q`); "refined" leaves ln q_y out of s(n, y).
    Negatives that are the batch's own targets make this the in-batch softmax, a mixture of those
    and of uniform draws mixed negative sampling (Yang et al., WWW 2020), and uniform draws alone
    the loss of SASRec with sampled softmax (Klenitskiy and Vasilev, "Turning Dross Into Gold Loss:
    is BERT4Rec really better than SASRec?", RecSys 2023). Sources of the corrections:
    the module's. Scores are never in memory together, as in the full softmax; see `fused_softmax`.

    user [N, d] and items [M, d]: unit vectors of one space. targets int64 [N] and negatives int64
    [K]: rows of items, repeats allowed. log_q [M]: finite for negatives and, for "classic", for
    targets. scale: one over the temperature, a scalar. weights [N], not negative: what each row
    counts. Returns the weighted mean, in nats.
    """
    # `embedding`, because the gradient of `items[…]` adds up in an order that varies.
    positive = scale * (user * F.embedding(targets, items)).sum(dim=1)
    if correction == "classic":
        positive = positive - log_q[targets]
    return fused_softmax(
        positive,
        user,
        F.embedding(negatives, items),
        targets,
        scale,
        weights,
        rows=negatives,
        log_q=log_q[negatives],
    )


def mixed_log_q(counts: Tensor, in_batch: int, uniform: int) -> Tensor:
    """ln of how often each item is expected among shared negatives of two kinds.

        ln( in_batch · counts_i / Σ_j counts_j + uniform / M )

    for `in_batch` targets of the batch, that come as often as they do in training, and `uniform`
    draws with replacement from all M items. Either number may be 0; items that are then never drawn
    have −∞. Source of the mixture: Yang et al., "Mixed Negative Sampling for Learning Two-tower
    Neural Networks in Recommendations", WWW 2020.

    counts [M]: events of each item in training, one more than zero at the least. Returns [M].
    """
    return torch.log(in_batch * counts / counts.sum() + uniform / len(counts))
