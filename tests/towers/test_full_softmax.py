"""The fused softmax over the catalog against torch's own cross-entropy in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitrina.towers.losses import full_softmax
from vitrina.towers.losses.fused import LOGITS_AT_ONCE


def some_states(
    seed: int, states: int, items: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "user": F.normalize(torch.randn(states, 5, dtype=dtype), dim=1),
        "items": F.normalize(torch.randn(items, 5, dtype=dtype), dim=1),
        "targets": torch.randint(items, (states,)),
        "scale": torch.tensor(7.0, dtype=dtype),
        "weights": torch.rand(states, dtype=dtype) + 0.1,
    }


def plain(user: Tensor, items: Tensor, targets: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """What the fused loss replaces, with all logits in memory."""
    each = F.cross_entropy(scale * user @ items.T, targets, reduction="none")
    return (each * weights).sum() / weights.sum()


def with_gradients(loss: object, batch: dict[str, Tensor], **options: object) -> list[Tensor]:
    """The loss and its gradients by user, items and scale."""
    learnt = ("user", "items", "scale")
    leaves = {k: v.clone().requires_grad_(k in learnt) for k, v in batch.items()}
    value = loss(**leaves, **options)  # type: ignore[operator]
    (3 * value).backward()
    return [value.detach(), *(leaves[k].grad / 3 for k in learnt)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 40))
def test_value_and_gradients_are_those_of_the_whole_matrix(
    seed: int, states: int, items: int
) -> None:
    batch = some_states(seed, states, items)
    torch.testing.assert_close(with_gradients(full_softmax, batch), with_gradients(plain, batch))


@pytest.mark.parametrize("items", [1, 2**15 + 3])
def test_odd_sizes_around_a_chunk(items: int) -> None:
    batch = some_states(1, 2 * LOGITS_AT_ONCE["cpu"] // 2**15 + 7, items)
    torch.testing.assert_close(with_gradients(full_softmax, batch), with_gradients(plain, batch))


@pytest.mark.parametrize(("products", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_narrow_products_stay_near(products: torch.dtype, tolerance: float) -> None:
    """bfloat16 keeps 8 bits of each factor; sums over rows and items are float32."""
    batch = some_states(2, 300, 200, torch.float32)
    expected = with_gradients(
        plain, {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    )
    found = with_gradients(full_softmax, batch, products=products)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= tolerance * b.norm()


def test_the_precision_is_chosen_for_the_machine() -> None:
    batch = some_states(3, 50, 70, torch.float32)
    expected = with_gradients(plain, batch)
    for a, b in zip(with_gradients(full_softmax, batch), expected, strict=True):
        assert (a - b).norm() <= 1e-2 * b.norm()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = with_gradients(full_softmax, batch)
    torch.testing.assert_close(
        lowered, with_gradients(full_softmax, batch, products=torch.bfloat16), rtol=0, atol=0
    )


def test_rows_without_weight_change_nothing() -> None:
    batch = some_states(4, 40, 30)
    batch["weights"][10:] = 0
    value, user, items, scale = with_gradients(full_softmax, batch)
    rows = {k: v[:10] if k in ("user", "targets", "weights") else v for k, v in batch.items()}
    fewer = with_gradients(full_softmax, rows)
    torch.testing.assert_close([value, user[:10], items, scale], fewer)
    assert not user[10:].any()


def test_a_batch_without_weight_teaches_nothing() -> None:
    batch = some_states(5, 6, 9)
    batch["weights"] = torch.zeros(6, dtype=torch.float64)
    assert not any(part.any() for part in with_gradients(full_softmax, batch))


def test_high_scales_and_poor_fits_stay_finite() -> None:
    batch = some_states(6, 20, 10, torch.float32) | {"scale": torch.tensor(1e3)}
    batch["items"][0], batch["user"][:] = -batch["user"][0], batch["user"][0]
    batch["targets"][:] = 0
    found = with_gradients(full_softmax, batch, products=torch.float32)
    assert found[0] > 1e3
    torch.testing.assert_close(found, with_gradients(plain, batch))


def test_equal_runs_give_equal_bits() -> None:
    batch = some_states(7, 500, 300, torch.float32)
    first, second = (with_gradients(full_softmax, batch) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_it_is_computed_without_gradients_too() -> None:
    batch = some_states(8, 30, 20)
    with torch.no_grad():
        torch.testing.assert_close(full_softmax(**batch), plain(**batch))


class LargestTensor(TorchDispatchMode):
    """Watches every operation below autograd for the largest tensor that one makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, Tensor):
                self.elements = max(self.elements, part.numel())
        return out


def test_the_logits_of_all_states_never_exist() -> None:
    batch = some_states(9, 2_000, 5_000, torch.float32)
    with LargestTensor() as seen:
        with_gradients(full_softmax, batch)
    assert seen.elements <= LOGITS_AT_ONCE["cpu"] < 2_000 * 5_000 / 4
    with LargestTensor() as seen:
        with_gradients(plain, batch)
    assert seen.elements >= 2_000 * 5_000  # or the watch would see nothing
