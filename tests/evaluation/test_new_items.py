"""In a shop that was really trained, new items land among their like and find their takers.

Whether they came after the bundle was made, or with the newest catalog and before anybody met them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import orjson
import pytest
import torch

from towers.taste_shop import TasteShop, ingested, taste_shop, user_history
from vitrina.bundle.amend import amend
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.lake.catalog import CatalogTable
from vitrina.online.recommender import Recommender, Request
from vitrina.schema import History
from vitrina.settings import ServeSettings, TrainSettings
from vitrina.state.catalog_changes import SqliteCatalogChanges
from vitrina.state.sqlite import SqliteState
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.run import train

COPIED = range(0, 60, 7)
TRAIN = TrainSettings(dim=16, max_history=40, steps=200, encoder="mlp", validation_every=0)


@dataclass(frozen=True)
class Served:
    """A trained shop, with copies of some of its items that nobody has met."""

    shop: TasteShop
    recommender: Recommender

    def row(self, item_id: str) -> int:
        return self.recommender.bundle.row_of_item[item_id]

    def taste(self, item_id: str) -> int:
        return int(self.shop.taste_of_item[int(item_id.removesuffix("-new")[-4:])])


@pytest.fixture(scope="module", params=["after the bundle", "with the newest catalog"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    shop = taste_shop(users=30, items=60, events=30)
    folder = tmp_path_factory.mktemp("shop")
    settings = ingested(folder, shop, TRAIN)
    if request.param == "with the newest catalog":
        ingested(folder, replace(shop, catalog=with_copies(shop.catalog)), TRAIN)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(settings)
    bundle = load_bundle(assemble_draft(settings))
    torch.set_num_threads(threads)
    if request.param == "after the bundle":
        bundle = with_copies_put(bundle)
    return Served(shop, Recommender(bundle, SqliteState(None), None, ServeSettings()))


def with_copies(catalog: CatalogTable) -> CatalogTable:
    """The catalog as the shop exports it when it has the copies, too."""
    rows = [*range(len(catalog)), *COPIED]
    columns = {
        name: column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        for name in CatalogTable.__dataclass_fields__
        for column in [getattr(catalog, name)]
    }
    copies = [f"{catalog.item_ids[row]}-new" for row in COPIED]
    return CatalogTable(**columns | {"item_ids": [*catalog.item_ids, *copies]})


def with_copies_put(bundle: Bundle) -> Bundle:
    """The bundle after the shop has put the copies."""
    copies = [orjson.loads(bundle.catalog.blob(row)) for row in COPIED]
    changes = SqliteCatalogChanges(None)
    changes.put([copy | {"item_id": f"{copy['item_id']}-new"} for copy in copies])
    return amend(bundle, changes.after(0))


def test_a_copy_of_an_item_lands_among_its_like(served: Served) -> None:
    bundle = served.recommender.bundle
    like = []
    for row in COPIED:
        copy = f"{served.shop.catalog.item_ids[row]}-new"
        (vector,) = bundle.vectors_of(np.array([served.row(copy)]))
        near = np.argsort(-(bundle.vectors.values @ vector))[:10]
        like += [served.taste(bundle.item_ids[other]) == served.taste(copy) for other in near]
    assert np.mean(like) > 0.6  # 0.25 by chance


def test_a_copy_is_in_the_list_of_what_is_like_the_item(served: Served) -> None:
    for row in COPIED:
        item_id = served.shop.catalog.item_ids[row]
        fragments, stages = served.recommender.similar(served.row(item_id), 20)
        assert stages.degraded == []
        similar = [item["item_id"] for item in orjson.loads(orjson.dumps(fragments))]
        assert f"{item_id}-new" in similar


def test_copies_are_shown_to_whoever_is_near_them(served: Served) -> None:
    for user in range(4):
        history = user_history(served.shop.interactions, user, served.shop.catalog.item_ids)
        answer = served.recommender.recommend(Request(history=history, shelf="discover", k=20))
        assert answer.served_by == "learned"
        shown = [item_id for item_id in answer.item_ids if item_id.endswith("-new")]
        assert shown
        taste = int(served.shop.taste_of_user[user])
        assert served.taste(shown[0]) == taste
        # Who has met nothing but such a copy is known by it.
        newcomer = History([shown[0]], ["view"], [1])
        first = served.recommender.recommend(Request(history=newcomer, shelf="discover")).item_ids
        assert served.taste(first[0]) == taste
