"""What a server makes of an item's content is what the trained tower makes of a new item."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray

from towers.taste_shop import START_US, TYPES, taste_shop
from vitrina.bundle import bundle as layout
from vitrina.bundle.item_encoder import ItemEncoder
from vitrina.content import ItemContent
from vitrina.errors import BundleError, TrainingError
from vitrina.lake.catalog import CatalogTable
from vitrina.settings import TrainSettings
from vitrina.towers.export import PARITY, require_item_parity
from vitrina.towers.features import FOUR_WEEKS, PopularityFeatures
from vitrina.towers.item_tower import ItemTower
from vitrina.towers.training import build
from vitrina.towers.warm_start import save_towers

ITEMS, TASTES, DIM = 180, 4, 16
UNMET = np.arange(0, ITEMS, 9)
"""Rows of items that nobody has met."""


@dataclass(frozen=True)
class Saved:
    """Towers in a folder, and the vectors they give the catalog. As popular as what is in demand is
    on the average, where they ask for it: the items that nobody has met, like new ones."""

    folder: Path
    tower: ItemTower
    catalog: CatalogTable
    vectors: NDArray[np.float32]

    @property
    def encoder(self) -> ItemEncoder:
        encoder = ItemEncoder.load(self.folder)
        assert encoder is not None
        return encoder

    def items(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """As a shop would send them."""
        catalog = self.catalog
        return [
            {
                "item_id": catalog.item_ids[row],
                "title": catalog.title[row],
                "category_path": catalog.category_path[row],
                "price": None if np.isnan(catalog.price[row]) else float(catalog.price[row]),
                "brand": catalog.brand[row],
                "attributes": catalog.attributes[row],
            }
            for row in rows.tolist()
        ]


@pytest.fixture(scope="module", params=["discoveries", "next_item", "next_item by texts"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """By texts: there are enough words for factors of them."""
    shop = taste_shop(users=40, items=ITEMS, tastes=TASTES)
    rng = np.random.default_rng(0)
    colours = ["red", "green", "blue"]
    attributes = [{"colour": [colours[row % 3]], "row": row} for row in range(ITEMS)]
    catalog = replace(shop.catalog, attributes=attributes)
    if "texts" in request.param:
        words = [[f"taste{taste}word{word}" for word in range(40)] for taste in range(TASTES)]
        title = [" ".join(rng.choice(words[taste], 12)) for taste in shop.taste_of_item]
        catalog = replace(catalog, title=title)
    met = shop.interactions.where(~np.isin(shop.interactions.row, UNMET))
    settings = TrainSettings(objective=request.param.split()[0], dim=DIM, encoder="mlp")
    towers = build(met, catalog, settings, len(TYPES))
    assert (towers.item.content.from_text is not None) == ("texts" in request.param)
    torch.manual_seed(0)
    for parameter in towers.item.parameters():  # as far from the initial values as training goes
        parameter.data += 0.2 * torch.randn_like(parameter)
    popularity = None
    if settings.objective == "discoveries":
        popularity = PopularityFeatures(met, ITEMS).at(int(met.timestamp_us.max()) + 1)
        towers.item.expect(popularity)
        popularity[UNMET] = popularity[popularity[:, FOUR_WEEKS] > 0].mean(0)
    folder = tmp_path_factory.mktemp("towers")
    save_towers(folder, towers, towers.user, catalog.item_ids, TYPES, settings, START_US)
    return Saved(folder, towers.item, catalog, towers.item.embed_catalog(popularity))


def test_an_unmet_item_has_the_vector_that_training_gave_it(saved: Saved) -> None:
    encode, items = saved.encoder, saved.items(UNMET)
    found = encode(ItemContent.of(items))
    np.testing.assert_allclose(found, saved.vectors[UNMET], atol=PARITY, rtol=0)
    alone = [encode(ItemContent.of([item])) for item in items[:3]]
    np.testing.assert_allclose(np.concatenate(alone), found[:3], atol=1e-6)


def test_content_that_was_never_seen_has_a_vector_too(saved: Saved) -> None:
    odd = [
        {},
        {"title": "", "price": None, "category_path": None, "brand": None, "attributes": None},
        {"title": "Ünheard öf " * 500, "brand": "Nobody", "category_path": ["A", "B", "C", "D"]},
        {"price": 1e30, "attributes": {"colour": {"deep": [1]}, "size": [1, None, "red"]}},
    ]
    vectors = saved.encoder(ItemContent.of(odd))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert saved.encoder(ItemContent.of([])).shape == (0, DIM)


def test_a_bundle_of_an_older_version_has_no_encoder(tmp_path: Path) -> None:
    assert ItemEncoder.load(tmp_path) is None
    (tmp_path / layout.TOWERS).write_bytes(orjson.dumps({"format": 1}))
    assert ItemEncoder.load(tmp_path) is None
    (tmp_path / layout.TOWERS).write_bytes(b"{")
    with pytest.raises(BundleError, match=r"towers\.json cannot be used"):
        ItemEncoder.load(tmp_path)


def test_an_encoder_that_differs_is_refused(saved: Saved) -> None:
    require_item_parity(saved.tower, saved.folder, saved.catalog)
    another = copy.deepcopy(saved.tower)
    another.mix[-1].bias.data[0] += 1
    with pytest.raises(TrainingError, match="would differ from the trained tower's by"):
        require_item_parity(another, saved.folder, saved.catalog)
