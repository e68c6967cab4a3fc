"""Sampled softmax against the formula, shopper by shopper."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitrina.towers.losses import sampled_softmax


def some_batch(seed: int, shoppers: int, items: int, positives: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "user": F.normalize(torch.randn(shoppers, 5), dim=1),
        "candidates": F.normalize(torch.randn(items, 5), dim=1),
        "log_q": -3 * torch.rand(items),
        "positives": torch.randint(items, (shoppers, positives)),
        "excluded": torch.rand(shoppers, items) < 0.3,
        "scale": torch.tensor(7.0),
        "weights": torch.rand(shoppers) + 0.5,
    }


def brute_force(batch: dict[str, Tensor], correction: str) -> float:
    total = 0.0
    for b, user in enumerate(batch["user"]):
        score = [
            float(batch["scale"] * (user @ candidate) - log_q)
            for candidate, log_q in zip(batch["candidates"], batch["log_q"], strict=True)
        ]
        mine = batch["positives"][b].tolist()
        negatives = [c for c in range(len(score)) if c not in mine and not batch["excluded"][b, c]]
        against = sum(math.exp(score[c]) for c in negatives)
        losses = []
        for p in mine:
            left_out = float(batch["log_q"][p]) if correction == "refined" else 0.0
            positive = math.exp(score[p] + left_out)
            losses.append(-math.log(positive / (positive + against)))
        total += float(batch["weights"][b]) * sum(losses) / len(losses)
    return total / len(batch["user"])


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(2, 9),
    st.integers(1, 4),
    st.sampled_from(["classic", "refined"]),
)
def test_the_loss_is_its_formula(
    seed: int,
    shoppers: int,
    items: int,
    positives: int,
    correction: Literal["classic", "refined"],
) -> None:
    batch = some_batch(seed, shoppers, items, positives)
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    found = sampled_softmax(**batch, correction=correction).item()
    assert math.isclose(found, brute_force(batch, correction), rel_tol=1e-6, abs_tol=1e-8)


def test_with_the_whole_catalog_it_is_the_full_softmax() -> None:
    batch = some_batch(3, shoppers=6, items=40, positives=1)
    batch |= {
        "log_q": torch.zeros(40),
        "excluded": torch.zeros(6, 40, dtype=torch.bool),
        "weights": torch.ones(6),
    }
    logits = batch["scale"] * batch["user"] @ batch["candidates"].T
    torch.testing.assert_close(
        sampled_softmax(**batch), F.cross_entropy(logits, batch["positives"][:, 0])
    )


def test_the_correction_makes_a_sample_stand_for_the_catalog() -> None:
    torch.manual_seed(0)
    catalog = F.normalize(torch.randn(400, 5), dim=1)
    user = F.normalize(torch.randn(1, 5), dim=1)
    chance = 0.2 + 0.6 * torch.rand(400)
    chance[0] = 1.0  # the positive is always there
    full = F.cross_entropy(5 * user @ catalog.T, torch.tensor([0])).item()
    losses = []
    for _ in range(300):
        (drawn,) = torch.nonzero(torch.rand(400) < chance, as_tuple=True)
        loss = sampled_softmax(
            user=user,
            candidates=catalog[drawn],
            log_q=chance[drawn].log(),
            positives=torch.zeros(1, 1, dtype=torch.long),
            excluded=torch.zeros(1, len(drawn), dtype=torch.bool),
            scale=torch.tensor(5.0),
            weights=torch.ones(1),
        )
        losses.append(loss.item())
    assert math.isclose(sum(losses) / len(losses), full, rel_tol=0.01)


def test_items_that_are_no_negatives_get_no_gradient() -> None:
    batch = some_batch(5, shoppers=1, items=6, positives=1)
    batch["positives"][:] = 0
    batch["excluded"] = torch.tensor([[False, True, True, False, False, False]])
    batch["candidates"].requires_grad_()
    sampled_softmax(**batch).backward()
    gradient = batch["candidates"].grad
    assert gradient is not None
    assert (gradient.abs().sum(1) > 0).tolist() == [True, False, False, True, True, True]
