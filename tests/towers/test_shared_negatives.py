"""Losses against a sample of the catalog that all states share, and what their rows count."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitrina.towers.losses import (
    full_softmax,
    gbce,
    mixed_log_q,
    row_weights,
    shared_softmax,
    subsampling_weights,
)

CORRECTIONS = ("classic", "refined")
sizes = st.tuples(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 8), st.integers(1, 9))


def some_states(seed: int, states: int, items: int, negatives: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "user": F.normalize(torch.randn(states, 4, dtype=torch.float64), dim=1),
        "items": F.normalize(torch.randn(items, 4, dtype=torch.float64), dim=1),
        "targets": torch.randint(items, (states,)),
        "negatives": torch.randint(items, (negatives,)),
        "log_q": -3 * torch.rand(items, dtype=torch.float64),
        "scale": torch.tensor(6.0, dtype=torch.float64),
        "weights": torch.rand(states, dtype=torch.float64) + 0.1,
    }


def without_log_q(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in batch.items() if k != "log_q"}


def scores_of(batch: dict[str, Tensor]) -> list[list[float]]:
    return (batch["scale"] * batch["user"] @ batch["items"].T).tolist()


def weighted_mean(losses: list[float], batch: dict[str, Tensor]) -> float:
    weights = batch["weights"].tolist()
    return sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)


def gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


# --- softmax ---


@settings(deadline=None)
@given(sizes, st.sampled_from(CORRECTIONS))
def test_shared_softmax_is_its_formula(
    size: tuple[int, int, int, int], correction: Literal["classic", "refined"]
) -> None:
    batch = some_states(*size)
    leaves = [batch[k].requires_grad_() for k in ("user", "items", "scale")]
    losses = []
    for user, y in zip(batch["user"], batch["targets"].tolist(), strict=True):
        score = [batch["scale"] * (user @ item) for item in batch["items"]]
        corrected = [s - log_q for s, log_q in zip(score, batch["log_q"], strict=True)]
        positive = (corrected if correction == "classic" else score)[y].exp()
        against = sum(corrected[i].exp() for i in batch["negatives"].tolist() if i != y)
        losses.append(-torch.log(positive / (positive + against)))
    expected = (torch.stack(losses) * batch["weights"]).sum() / batch["weights"].sum()
    found = shared_softmax(**batch, correction=correction)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, leaves), gradients(expected, leaves))


@settings(deadline=None, max_examples=40)
@given(sizes, st.sampled_from(CORRECTIONS))
def test_against_the_whole_catalog_it_is_the_full_softmax(
    size: tuple[int, int, int, int], correction: Literal["classic", "refined"]
) -> None:
    """Every item once: each is expected once, ln q = 0."""
    batch = some_states(*size)
    batch["negatives"] = torch.randperm(len(batch["items"]))
    batch["log_q"] = torch.zeros(len(batch["items"]), dtype=torch.float64)
    leaves = [batch[k].requires_grad_() for k in ("user", "items", "scale")]
    sampled = shared_softmax(**batch, correction=correction)
    full = full_softmax(**{k: v for k, v in batch.items() if k not in ("negatives", "log_q")})
    torch.testing.assert_close(sampled, full)
    torch.testing.assert_close(gradients(sampled, leaves), gradients(full, leaves))


@settings(deadline=None)
@given(sizes)
def test_the_refined_correction_has_the_gradient_that_its_paper_gives(
    size: tuple[int, int, int, int],
) -> None:
    """−sg(1 − P) · ln( exp s(y) / Σ_c exp(s(c) − ln q'_c) ) over negatives that are not y."""
    seed, _, items, negatives = size
    batch = some_states(seed, 1, items, negatives)
    batch["targets"][0] = 0
    batch["negatives"] = torch.randint(1, items, (negatives,))
    proposal = torch.softmax(batch["log_q"][1:], dim=0)  # q', drawn from the items that are not y
    batch["log_q"][1:] = torch.log(negatives * proposal)
    leaves = [batch[k].requires_grad_() for k in ("user", "items", "scale")]

    score = batch["scale"] * (batch["user"] @ batch["items"].T)[0]
    corrected = score[batch["negatives"]] - proposal.log()[batch["negatives"] - 1]
    p = score[0].exp() / (score[0].exp() + corrected.exp().mean())
    paper = -(1 - p).detach() * torch.log(score[0].exp() / corrected.exp().sum())
    ours = shared_softmax(**batch, correction="refined")
    torch.testing.assert_close(gradients(ours, leaves), gradients(paper, leaves))


def expected_odds(correction: Literal["classic", "refined"]) -> tuple[float, float, float]:
    """Mean over all samples of (1 − P)/P, its value in the full softmax, and q of the target."""
    batch = some_states(3, 1, 4, 3)
    counts, y = torch.tensor([7.0, 1.0, 2.0, 4.0], dtype=torch.float64), 1
    batch |= {"targets": torch.tensor([y]), "log_q": mixed_log_q(counts, in_batch=3, uniform=0)}
    chance, mean = (counts / counts.sum()).tolist(), 0.0
    for drawn in itertools.product(range(4), repeat=3):
        batch["negatives"] = torch.tensor(drawn)
        loss = shared_softmax(**batch, correction=correction).item()
        mean += math.prod(chance[i] for i in drawn) * math.expm1(loss)
    (score,) = scores_of(batch)
    full = sum(math.exp(score[i] - score[y]) for i in range(4) if i != y)
    return mean, full, batch["log_q"][y].exp().item()


def test_refined_odds_are_unbiased_over_all_samples() -> None:
    mean, full, _ = expected_odds("refined")
    assert math.isclose(mean, full, rel_tol=1e-9)


def test_classic_odds_are_off_by_how_often_the_target_is_expected() -> None:
    mean, full, expected = expected_odds("classic")
    assert math.isclose(mean, expected * full, rel_tol=1e-9)


@settings(deadline=None, max_examples=40)
@given(sizes)
def test_classic_and_refined_agree_on_targets_that_are_expected_once(
    size: tuple[int, int, int, int],
) -> None:
    batch = some_states(*size)
    batch["log_q"][batch["targets"]] = 0
    classic, refined = (shared_softmax(**batch, correction=c) for c in CORRECTIONS)
    torch.testing.assert_close(classic, refined)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_nothing_to_compare_with_teaches_nothing(
    correction: Literal["classic", "refined"],
) -> None:
    """All negatives are the target itself, and rows of no weight: zero, and no NaN."""
    batch = some_states(4, 3, 5, 2)
    batch |= {"targets": torch.full((3,), 2), "negatives": torch.full((2,), 2)}
    leaves = [batch[k].requires_grad_() for k in ("user", "items", "scale")]
    loss = shared_softmax(**batch, correction=correction)
    assert loss == 0
    assert not any(part.any() for part in gradients(loss, leaves))
    batch |= {"negatives": torch.tensor([0, 1]), "weights": torch.zeros(3, dtype=torch.float64)}
    loss = shared_softmax(**batch, correction=correction)
    assert loss == 0
    assert not any(part.any() for part in gradients(loss, leaves))


def test_high_scales_stay_finite_in_single_precision() -> None:
    batch = some_states(5, 20, 10, 8)
    batch = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
    batch["scale"] = torch.tensor(1e3)
    leaves = [batch[k].requires_grad_() for k in ("user", "items", "scale")]
    for loss in (
        shared_softmax(**batch, correction="refined"),
        gbce(**without_log_q(batch), calibration=0.75),
    ):
        assert loss.isfinite()
        assert all(part.isfinite().all() for part in gradients(loss, leaves))


def test_expected_counts_of_mixed_negatives() -> None:
    """Counted in draws: each batch takes 40 targets by popularity, and 20 items evenly."""
    counts = torch.tensor([5.0, 3.0, 2.0, 0.0])
    torch.manual_seed(0)
    popular = torch.multinomial(counts, 40 * 3_000, replacement=True)
    even = torch.randint(4, (20 * 3_000,))
    seen = torch.bincount(torch.cat([popular, even]), minlength=4) / 3_000
    torch.testing.assert_close(mixed_log_q(counts, 40, 20).exp(), seen, rtol=0.02, atol=0)
    assert mixed_log_q(counts, 40, 0)[3] == -math.inf


# --- gBCE ---


@settings(deadline=None)
@given(sizes, st.floats(0, 1))
def test_gbce_is_its_formula(size: tuple[int, int, int, int], calibration: float) -> None:
    batch = some_states(*size)
    items, losses = len(batch["items"]), []
    batch["negatives"] = torch.randperm(items)[: size[3]]
    for score, y in zip(scores_of(batch), batch["targets"].tolist(), strict=True):
        p = [1 / (1 + math.exp(-s)) for s in score]
        others = [i for i in batch["negatives"].tolist() if i != y]
        rate = len(others) / (items - 1)
        beta = rate * (calibration * (1 - 1 / rate) + 1 / rate) if others else 1 - calibration
        terms = math.log(p[y] ** beta) + sum(math.log(1 - p[i]) for i in others)
        losses.append(-terms / (len(others) + 1))
    found = gbce(**without_log_q(batch), calibration=calibration).item()
    assert math.isclose(found, weighted_mean(losses, batch), rel_tol=1e-6, abs_tol=1e-12)


@settings(deadline=None, max_examples=40)
@given(sizes, st.floats(0, 1))
def test_with_every_item_looked_at_there_is_nothing_to_calibrate(
    size: tuple[int, int, int, int], calibration: float
) -> None:
    batch = without_log_q(some_states(*size))
    batch["negatives"] = torch.arange(len(batch["items"]))
    scores = batch["scale"] * batch["user"] @ batch["items"].T
    hot = F.one_hot(batch["targets"], len(batch["items"])).double()
    plain = F.binary_cross_entropy_with_logits(scores, hot, reduction="none").mean(dim=1)
    torch.testing.assert_close(
        gbce(**batch, calibration=calibration),
        (plain * batch["weights"]).sum() / batch["weights"].sum(),
    )


def test_gbce_without_weights_teaches_nothing() -> None:
    batch = without_log_q(some_states(6, 4, 5, 3))
    batch["weights"] = torch.zeros(4, dtype=torch.float64)
    assert gbce(**batch, calibration=0.75) == 0


def slope_at_the_truth(calibration: float) -> Tensor:
    """Slope of the expected loss by the scores, where p of each item is its true probability.

    One state, four items as unit vectors along the axes, all samples of two of the others.
    """
    truth = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    scores = torch.logit(truth)[None].requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for y in range(4):
        samples = list(itertools.combinations([i for i in range(4) if i != y], 2))
        for drawn in samples:
            loss = gbce(
                user=scores,
                items=torch.eye(4, dtype=torch.float64),
                targets=torch.tensor([y]),
                negatives=torch.tensor(drawn),
                scale=torch.ones((), dtype=torch.float64),
                weights=torch.ones(1, dtype=torch.float64),
                calibration=calibration,
            )
            expected = expected + truth[y] / len(samples) * loss
    (slope,) = torch.autograd.grad(expected, scores)
    return slope[0]


def test_gbce_is_calibrated_where_binary_cross_entropy_is_overconfident() -> None:
    torch.testing.assert_close(slope_at_the_truth(1.0), torch.zeros(4, dtype=torch.float64))
    assert (slope_at_the_truth(0.0) < 0).all()  # a higher score would lower the loss


# --- weights ---


@settings(deadline=None)
@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=8), st.floats(1e-4, 1.0))
def test_subsampling_keeps_an_event_with_the_chance_of_its_item(
    counts: list[int], threshold: float
) -> None:
    found = subsampling_weights(torch.tensor(counts, dtype=torch.float64), threshold)
    for count, weight in zip(counts, found.tolist(), strict=True):
        share = count / max(sum(counts), 1)
        discarded = max(0.0, 1 - math.sqrt(threshold / share)) if share else 0.0
        assert math.isclose(1 - weight, discarded, abs_tol=1e-9)


def test_a_row_counts_its_item_and_its_event() -> None:
    found = row_weights(
        torch.tensor([2, 0, 2]),
        torch.tensor([1, 1, 0]),
        item_weights=torch.tensor([1.0, 0.5, 0.25]),
        type_weights=torch.tensor([0.2, 1.0]),
    )
    torch.testing.assert_close(found, torch.tensor([0.25, 1.0, 0.05]))
