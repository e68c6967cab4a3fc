"""What a GPU would do differently, as far as it shows on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from towers.taste_shop import TYPE_WEIGHTS, TYPES, taste_shop
from vitrina.settings import TrainSettings
from vitrina.towers.device import compiled
from vitrina.towers.objectives import objective_of
from vitrina.towers.training import build
from vitrina.towers.user_tower import Block


@pytest.mark.parametrize("encoder", ["transformer", "mlp"])
@pytest.mark.parametrize("objective", ["discoveries", "next_item"])
def test_half_of_the_precision_is_enough_for_a_step(objective: str, encoder: str) -> None:
    """Loss and gradients with bfloat16 products, and running means, beside those of float32."""
    shop = taste_shop()
    settings = TrainSettings(
        dim=16, max_history=10, objective=objective, encoder=encoder, dropout=0, id_dropout=0
    )
    found = []
    for enabled in (False, True):
        towers = build(shop.interactions, shop.catalog, settings, len(TYPES)).train()
        source = objective_of(shop.interactions, len(towers.item), TYPE_WEIGHTS, settings)
        batch = source.batch(0, np.random.default_rng(0))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = source.loss(towers, batch)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in towers.parameters() if p.grad is not None])
        assert {value.dtype for value in (loss, gradient)} == {torch.float32}
        found.append((loss.item(), gradient))
    (exact, exact_gradient), (half, half_gradient) = found
    assert half == pytest.approx(exact, rel=0.01)
    assert torch.cosine_similarity(exact_gradient, half_gradient, dim=0) > 0.99


def test_modules_are_as_they_were_after_running_compiled() -> None:
    block = Block(8, 2, 0.0)
    with compiled([block]):
        assert "forward" in vars(block)
    assert "forward" not in vars(block)
