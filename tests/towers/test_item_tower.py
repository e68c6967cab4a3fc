"""The item tower: an item's vector is the item's own, whatever it is computed with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from towers.taste_shop import taste_shop
from vitrina.content import ItemFeatures
from vitrina.towers.features import POPULARITY_FEATURES
from vitrina.towers.item_tower import ItemTower

ITEMS, DIM = 20, 8

Popularity = NDArray[np.float32]


@pytest.fixture(scope="module")
def popularity() -> Popularity:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 8, (ITEMS, POPULARITY_FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def tower() -> ItemTower:
    """Of a catalog in which some items have no text."""
    torch.manual_seed(0)
    catalog = taste_shop(items=ITEMS).catalog
    titles = [title if row % 3 else "" for row, title in enumerate(catalog.title)]
    features = ItemFeatures.from_catalog(replace(catalog, title=titles))
    ids = np.random.default_rng(0).standard_normal((ITEMS, DIM)).astype(np.float32)
    return ItemTower(
        features,
        np.arange(ITEMS),
        DIM,
        ids,
        learn_ids=False,
        id_dropout=0.5,
        popularity=True,
    ).eval()


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, ITEMS - 1), min_size=1))
@torch.no_grad()
def test_company_and_order_change_nothing(
    tower: ItemTower, popularity: Popularity, rows: list[int]
) -> None:
    catalog = tower.embed_catalog(popularity)
    found = tower(torch.tensor(rows), torch.from_numpy(popularity[rows])).numpy()
    np.testing.assert_allclose(found, catalog[rows], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_embedding_the_catalog_hides_no_ids_and_leaves_training_on(
    tower: ItemTower, popularity: Popularity
) -> None:
    expected = tower.embed_catalog(popularity)
    tower.train()
    assert tower.embed_catalog(popularity).tolist() == expected.tolist()
    assert tower.training
    tower.eval()


@torch.no_grad()
def test_training_hides_ids_now_and_then(tower: ItemTower, popularity: Popularity) -> None:
    torch.manual_seed(0)
    rows, known = torch.arange(ITEMS), torch.from_numpy(popularity)
    tower.train()
    differs = [(tower(rows, known) - tower(rows, known)).abs().sum(1) > 1e-6 for _ in range(30)]
    tower.eval()
    assert 0.4 < torch.stack(differs).float().mean() < 0.6
