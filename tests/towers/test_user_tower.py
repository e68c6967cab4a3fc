"""Both encoders: unit vectors that depend on the real events alone, alone or in a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrina.encoding import EncodedBatch, EncodedHistory, history_summary, pad
from vitrina.space import normalise
from vitrina.towers.objectives import tower_inputs
from vitrina.towers.user_tower import SHRINKAGE, SummaryEncoder, TowardsCentre, UserTower

DIM, TYPES, ITEMS = 16, 5, 30

Encoder = Callable[..., Tensor]


def some_histories(rng: np.random.Generator, count: int, longest: int = 9) -> list[EncodedHistory]:
    histories = []
    for _ in range(count):
        n = int(rng.integers(1, longest + 1))
        days = np.sort(rng.exponential(20, n))[::-1]
        histories.append(
            EncodedHistory(
                rng.integers(ITEMS, size=n),
                rng.integers(TYPES, size=n),
                (days - days[-1]).astype(np.float32),
            )
        )
    return histories


def vectors_of(rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(normalise(rng.standard_normal((ITEMS, DIM))))


def encoded(encoder: nn.Module, items: Tensor, batch: EncodedBatch) -> Tensor:
    found: Tensor = encoder(items[torch.from_numpy(batch.rows)], *tower_inputs(batch))
    return found


@pytest.fixture(params=["transformer", "sequential", "mlp", "served"], scope="module")
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    """A tower that has seen a few batches, so that nothing in it is at its initial value."""
    torch.manual_seed(1)
    tower: nn.Module = UserTower(DIM, TYPES, sequential=request.param == "sequential")
    if request.param == "mlp":
        tower = SummaryEncoder(DIM)
    rng = np.random.default_rng(1)
    items = vectors_of(rng)
    optimiser = torch.optim.SGD(tower.parameters(), lr=0.5)
    for _ in range(5):
        found = encoded(tower, items, pad(some_histories(rng, 16)))
        (found @ items.T).square().mean().backward()
        optimiser.step()
    if request.param == "served":
        return TowardsCentre(tower, nn.functional.normalize(torch.randn(DIM), dim=0)).eval()
    return tower.eval()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(encoder: nn.Module, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = vectors_of(rng)
    batch = pad(some_histories(rng, 4))
    history = items[torch.from_numpy(batch.rows)]
    types, days, mask = tower_inputs(batch)
    noise = torch.from_numpy(rng.standard_normal(history.shape).astype(np.float32))
    other_types = torch.from_numpy(rng.integers(TYPES, size=types.shape))
    other_days = torch.from_numpy(rng.uniform(0, 900, days.shape).astype(np.float32))
    found = encoder(
        torch.where(mask[..., None], history, noise),
        torch.where(mask, types, other_types),
        torch.where(mask, days, other_days),
        mask,
    )
    torch.testing.assert_close(found, encoder(history, types, days, mask), atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
@torch.no_grad()
def test_company_in_a_batch_changes_nothing(encoder: nn.Module, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = vectors_of(rng)
    histories = some_histories(rng, 5)
    together = encoded(encoder, items, pad(histories))
    assert together.norm(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-5)
    for place, history in enumerate(histories):
        alone = encoded(encoder, items, pad([history]))
        torch.testing.assert_close(alone[0], together[place], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_tower_reads_order_kind_and_time() -> None:
    torch.manual_seed(0)
    tower = UserTower(DIM, TYPES).eval()
    items = vectors_of(np.random.default_rng(0))
    rows, kinds = np.array([1, 2, 3]), np.zeros(3, np.int64)
    days = np.array([40, 1, 0], np.float32)
    base = EncodedHistory(rows, kinds, days)
    variants = {
        "order": EncodedHistory(rows[::-1].copy(), kinds, days),
        "kind": EncodedHistory(rows, np.array([0, 0, 1]), days),
        "time": EncodedHistory(rows, kinds, np.array([40, 39, 0], np.float32)),
    }
    vector = encoded(tower, items, pad([base]))
    for name, variant in variants.items():
        assert (encoded(tower, items, pad([variant])) - vector).abs().max() > 1e-4, name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
@torch.no_grad()
def test_the_mlp_reads_the_summary_that_encoding_defines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = vectors_of(rng)
    histories = some_histories(rng, 4)
    encoder = SummaryEncoder(DIM).eval()
    read: list[Tensor] = []
    encoder.mlp.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    encoded(encoder, items, pad(histories))
    expected = np.stack([history_summary(items.numpy()[history.rows]) for history in histories])
    np.testing.assert_allclose(read[0].numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_a_sequential_tower_begins_near_the_history_and_its_newest_item() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    items, histories = vectors_of(rng), some_histories(rng, 50)
    tower = UserTower(DIM, TYPES, sequential=True).eval()
    vectors = encoded(tower, items, pad(histories)).numpy()
    scores = vectors @ items.numpy().T
    newest = np.array([history.rows[-1] for history in histories])
    others = np.delete(np.arange(ITEMS), np.unique(newest))
    assert (
        scores[np.arange(50), newest] > np.quantile(scores[:, others], 0.9, axis=1)
    ).mean() > 0.9


@torch.no_grad()
def test_a_served_vector_is_the_encoders_drawn_towards_the_centre() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tower, centre = UserTower(DIM, TYPES).eval(), nn.functional.normalize(torch.randn(DIM), dim=0)
    items, batch = vectors_of(rng), pad(some_histories(rng, 6))
    own = encoded(tower, items, batch)
    served = encoded(TowardsCentre(tower, centre).eval(), items, batch)
    expected = own + SHRINKAGE * centre
    torch.testing.assert_close(served, expected / expected.norm(dim=1, keepdim=True))
    assert (served @ centre > own @ centre).all()
