"""In a shop that was really trained, new items land among their like and find their takers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
import pytest
import torch

from towers.taste_shop import TasteShop, ingested, taste_shop, user_history
from vitrina.bundle.amend import amend
from vitrina.bundle.bundle import load_bundle
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
    """A trained shop, with copies of some of its items added since."""

    shop: TasteShop
    recommender: Recommender

    def row(self, item_id: str) -> int:
        return self.recommender.bundle.row_of_item[item_id]

    def taste(self, item_id: str) -> int:
        return int(self.shop.taste_of_item[int(item_id.removesuffix("-new")[-4:])])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    shop = taste_shop(users=30, items=60, events=30)
    settings = ingested(tmp_path_factory.mktemp("shop"), shop, TRAIN)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(settings)
    bundle = load_bundle(assemble_draft(settings))
    torch.set_num_threads(threads)
    copies = [orjson.loads(bundle.catalog.blob(row)) for row in COPIED]
    changes = SqliteCatalogChanges(None)
    changes.put([copy | {"item_id": f"{copy['item_id']}-new"} for copy in copies])
    added = amend(bundle, changes.after(0))
    return Served(shop, Recommender(added, SqliteState(None), None, ServeSettings()))


def test_a_copy_of_an_item_lands_among_its_like(served: Served) -> None:
    bundle = served.recommender.bundle
    like = []
    for row in COPIED:
        copy = f"{bundle.item_ids[row]}-new"
        (vector,) = bundle.vectors_of(np.array([served.row(copy)]))
        near = np.argsort(-(bundle.vectors.values @ vector))[:10]
        like.append(served.shop.taste_of_item[near] == served.taste(copy))
    assert np.mean(like) > 0.8  # 0.25 by chance


def test_a_copy_is_in_the_list_of_what_is_like_the_item(served: Served) -> None:
    for row in COPIED:
        fragments, stages = served.recommender.similar(row, 20)
        assert stages.degraded == []
        similar = [item["item_id"] for item in orjson.loads(orjson.dumps(fragments))]
        assert f"{served.shop.catalog.item_ids[row]}-new" in similar


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
