"""Losses of the two-tower model, each a function."""

from __future__ import annotations

import torch
from torch import Tensor

MASKED = -1e9


def sampled_softmax(
    user: Tensor,
    candidates: Tensor,
    log_q: Tensor,
    positives: Tensor,
    excluded: Tensor,
    scale: Tensor,
    weights: Tensor,
) -> Tensor:
    """Sampled softmax over candidates shared by the batch, with the logQ correction.

    For shopper b and each of its positives p, with s(b, c) = scale · ⟨user_b, cand_c⟩ − ln q_c:

        −ln( exp s(b, p) / (exp s(b, p) + Σ_c exp s(b, c)) )

    where c runs over the candidates that are neither a positive of b nor excluded for b. Dividing
    by q_c, the probability that c is among the candidates at all, makes the sum an unbiased
    estimate of the sum over the whole catalog, so that popular items, which are in every batch,
    are not pushed down for it. Source: Yi et al., "Sampling-Bias-Corrected Neural Modeling for
    Large Corpus Item Recommendations", RecSys 2019, section 3; shared in-batch and sampled
    negatives: Yang et al., "Mixed Negative Sampling", WWW 2020.

    user [B, d] and candidates [C, d]: unit vectors of one space. log_q [C]. positives int64
    [B, P]: positions in candidates, repeats allowed. excluded bool [B, C]. scale: one over the
    temperature, a scalar. weights [B]: of each shopper, mean 1. Returns the mean, in nats.
    """
    scores = scale * (user @ candidates.T) - log_q
    positive = torch.gather(scores, 1, positives)
    negative = scores.masked_fill(excluded, MASKED).scatter(1, positives, MASKED)
    log_negative = torch.logsumexp(negative, dim=1, keepdim=True)
    losses = torch.logaddexp(positive, log_negative) - positive
    return (losses.mean(dim=1) * weights).mean()
