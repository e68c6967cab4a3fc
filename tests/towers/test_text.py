"""Factors of text: like texts lie near, and a new item lands among its like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from towers.taste_shop import TYPE_WEIGHTS, TYPES, TasteShop, taste_shop
from vitrina.content import Words
from vitrina.settings import TrainSettings
from vitrina.towers.objectives import objective_of
from vitrina.towers.text import TEXT_FACTORS, text_factors, tf_idf
from vitrina.towers.training import build
from vitrina.towers.warm_start import EarlierTowers, carry_over

ITEMS, TASTES = 180, 4


@pytest.fixture(scope="module")
def shop() -> TasteShop:
    """Nothing but the words of their descriptions tells what taste the items are of."""
    shop = taste_shop(users=30, items=ITEMS, tastes=TASTES)
    rng = np.random.default_rng(0)
    descriptions = [
        " ".join(f"taste{taste}word{number}" for number in rng.choice(40, 12, replace=False))
        for taste in shop.taste_of_item
    ]
    catalog = replace(
        shop.catalog,
        title=[""] * ITEMS,
        description=descriptions,
        category_path=[[] for _ in range(ITEMS)],
        brand=[None] * ITEMS,
    )
    return replace(shop, catalog=catalog)


def share_of_like(vectors: NDArray[np.float32], shop: TasteShop, rows: NDArray[np.int64]) -> float:
    """Of the ten items nearest to each of `rows`, the share that is of its taste."""
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    nearest = np.argsort(-scores, axis=1)[:, :10]
    return float((shop.taste_of_item[nearest] == shop.taste_of_item[rows, None]).mean())


def test_like_texts_lie_near_and_factors_are_the_same_every_time(shop: TasteShop) -> None:
    factors = text_factors(shop.catalog)
    assert factors is not None
    assert factors.items.shape == (ITEMS, TEXT_FACTORS)
    assert share_of_like(factors.items, shop, np.arange(ITEMS)) > 0.95
    again = text_factors(shop.catalog)
    assert again is not None
    assert again.items.tolist() == factors.items.tolist()


def test_a_new_item_lands_among_its_like(shop: TasteShop) -> None:
    """Items that nobody has met, in towers trained on the others."""
    new = np.arange(0, ITEMS, 9)
    known = shop.interactions.where(~np.isin(shop.interactions.row, new))
    settings = TrainSettings(objective="next_item", dim=16, id_dropout=0.3)
    towers = build(known, shop.catalog, settings, len(TYPES))
    objective = objective_of(known, ITEMS, TYPE_WEIGHTS, settings)
    optimiser = torch.optim.AdamW(towers.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for step in range(30):
        optimiser.zero_grad()
        objective.loss(towers, objective.batch(step, rng)).backward()
        optimiser.step()
    assert share_of_like(towers.item.embed_catalog(), shop, new) > 0.8


def test_a_catalog_of_few_words_or_items_has_none(shop: TasteShop) -> None:
    assert text_factors(replace(shop.catalog, description=["red soap"] * ITEMS)) is None
    assert text_factors(taste_shop(items=20).catalog) is None


def test_rare_words_weigh_more_and_words_of_one_text_nothing() -> None:
    def weights(texts: list[str]) -> csr_matrix:
        found = Words.of_texts(texts)
        return tf_idf(found, found.rarity())

    words = weights(["soap red", "soap blue", "soap red green", ""])
    soap, red = (weights([word, word, ""]).indices[0] for word in ("soap", "red"))
    assert words[0, red] > words[0, soap] > 0
    assert words[2].nnz == 2
    assert words[3].nnz == 0
    lengths = np.sqrt(words.multiply(words).sum(axis=1)).A1
    assert lengths == pytest.approx([1, 1, 1, 0])


@torch.no_grad()
def test_a_warm_start_reads_the_texts_of_a_changed_catalog_as_before(shop: TasteShop) -> None:
    settings = TrainSettings(objective="next_item", dim=16)
    before = build(shop.interactions, shop.catalog, settings, len(TYPES))
    description = ["taste0word1 taste3word2", *shop.catalog.description[1:]]
    changed = replace(shop.catalog, description=description)
    after = build(shop.interactions, changed, settings, len(TYPES))
    vocabularies = before.item.vocabularies
    weights = {name: value.clone() for name, value in before.state_dict().items()}
    earlier = EarlierTowers(
        "a test", "", {}, 0, shop.catalog.item_ids, TYPES, vocabularies, weights
    )
    carry_over(after, changed.item_ids, TYPES, earlier)
    rows = torch.arange(1, ITEMS)
    _, then = before.item.content(rows)
    _, now = after.item.content(rows)
    assert then is not None
    assert now is not None
    assert torch.nn.functional.cosine_similarity(then, now).min() > 0.9
    # And so does serving, of items that come later.
    words, read = Words.of(changed), after.item.content
    found = tf_idf(words, read.text_rarity.numpy()) @ read.text_words.numpy()
    np.testing.assert_allclose(found, read.text_factors.numpy(), atol=1e-4)
