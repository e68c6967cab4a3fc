"""One model that serves several lengths of vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from towers.taste_shop import TYPE_WEIGHTS, TYPES, TasteShop, taste_shop
from vitrina.errors import SettingsError
from vitrina.settings import TrainSettings, load_settings
from vitrina.space import normalise
from vitrina.towers.encode import user_vectors
from vitrina.towers.losses import full_softmax, over_lengths
from vitrina.towers.training import build, fit


def test_the_loss_is_the_mean_over_the_lengths() -> None:
    torch.manual_seed(0)
    user, items = (
        torch.nn.functional.normalize(torch.randn(n, 8, dtype=torch.float64), dim=1) for n in (5, 7)
    )
    targets, scale = torch.arange(5), torch.tensor(9.0, dtype=torch.float64)

    def brute(length: int) -> float:
        u, v = (x[:, :length] / x[:, :length].norm(dim=1, keepdim=True) for x in (user, items))
        return torch.nn.functional.cross_entropy(scale * u @ v.T, targets).item()

    def loss(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return full_softmax(u, v, targets, scale, torch.ones(5, dtype=torch.float64))

    found = over_lengths(loss, user, items, [2, 4])
    assert found.item() == pytest.approx((brute(8) + brute(2) + brute(4)) / 3)
    assert over_lengths(loss, user, items, []).item() == pytest.approx(brute(8))


def hits_of_own_taste(shop: TasteShop, settings: TrainSettings, folder: Path) -> float:
    """How often the item nearest to a shopper, by the first 4 numbers, is of their taste."""
    towers = build(shop.interactions, shop.catalog, settings, len(TYPES))
    fit(towers, shop.interactions, TYPE_WEIGHTS, settings, folder, "same")
    items = towers.item.embed_catalog()
    shoppers = np.arange(len(shop.taste_of_user))
    users = user_vectors(towers.user, items, shop.interactions, shoppers, settings.max_history)
    nearest = (normalise(users[:, :4]) @ normalise(items[:, :4]).T).argmax(axis=1)
    return float((shop.taste_of_item[nearest] == shop.taste_of_user).mean())


def test_short_vectors_serve_when_they_were_trained_to(tmp_path: Path) -> None:
    shop = taste_shop(users=80, items=80, tastes=8, seed=1)
    settings = TrainSettings(
        dim=32, max_history=20, objective="next_item", steps=60, batch_events=512
    )
    plain = hits_of_own_taste(shop, settings, tmp_path / "plain")
    nested = hits_of_own_taste(
        shop, settings.model_copy(update={"matryoshka": [4]}), tmp_path / "nested"
    )
    assert nested > plain + 0.1


def test_lengths_are_below_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "vitrina.toml"
    file.write_text("[train]\ndim = 64\nmatryoshka = [16, 64]\n")
    with pytest.raises(SettingsError, match=r"'train\.matryoshka'.*from 1 to 63.*not \[16, 64\]"):
        load_settings(file, {})
