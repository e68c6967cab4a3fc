"""The request path as a plain object: what each shelf shows, and what it does when parts break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.bundle import Bundle
from vitrina.bundle.catalog import Catalog
from vitrina.filters import EVERYTHING, Filters
from vitrina.index.base import RowArray
from vitrina.index.faiss import FaissIndex
from vitrina.online.candidates import Shelf, Surface
from vitrina.online.recommender import Recommendation, Recommender, Request
from vitrina.rank.candidates import REPURCHASE, SOURCES
from vitrina.schema import Event, History
from vitrina.settings import ServeSettings
from vitrina.space import Vectors
from vitrina.state.sqlite import SqliteState
from vitrina.state.vector_cache import LruVectorCache

HOUR = 3_600_000_000
SETTINGS = ServeSettings(candidates=100)


@pytest.fixture
def state() -> Iterator[SqliteState]:
    state = SqliteState(None)
    yield state
    state.close()


@pytest.fixture
def recommender(bundle: Bundle, state: SqliteState) -> Recommender:
    return Recommender(bundle, state, LruVectorCache(100, 60), SETTINGS)


@pytest.fixture(scope="module")
def stateless(bundle: Bundle) -> Iterator[Recommender]:
    """For requests that bring their history; shared by all examples of a property."""
    state = SqliteState(None)
    yield Recommender(bundle, state, None, SETTINGS)
    state.close()


class BrokenIndex(FaissIndex):
    """An index whose searches fail, as a damaged or missing library makes them."""

    def search(
        self, queries: Vectors, k: int, allowed: object = EVERYTHING
    ) -> tuple[np.ndarray, RowArray]:
        raise RuntimeError("the index is on fire\nand this line is not for shoppers")


def broken_index(bundle: Bundle) -> Bundle:
    return replace(bundle, index=BrokenIndex.build(bundle.vectors))


def shop_for(state: SqliteState, *items: str, kind: str = "purchase", user: str = "ada") -> None:
    state.append(
        [
            Event(f"{user}-{kind}-{item}", item, kind, n * HOUR, user_id=user)
            for n, item in enumerate(items, start=1)
        ]
    )


def shown_as(item: orjson.Fragment) -> str:
    """The source that an answer names for an item."""
    source: str = orjson.loads(orjson.dumps(item))["source"]
    return source


def test_someone_nobody_knows_gets_a_full_shelf(recommender: Recommender) -> None:
    for request in (Request(), Request(key="never seen"), Request(history=History())):
        answer = recommender.recommend(request)
        assert answer.served_by == "centroid"
        assert answer.degraded == []
        assert len(set(answer.item_ids)) == 20


def test_a_taste_shows_on_the_shelf(
    bundle: Bundle, recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0019", "item-0035", kind="view")
    answer = recommender.recommend(Request(key="ada", k=4, shelf="discover"))
    assert answer.served_by == "learned"
    best = bundle.catalog.item(int(answer.candidates.rows[0]))
    assert best.category_path[-1] == "BAKERY B2"  # where the three are from


def test_each_shelf_has_its_sources(recommender: Recommender, state: SqliteState) -> None:
    bought, viewed = ["item-0003", "item-0004"], ["item-0005", "item-0006"]
    shop_for(state, *bought)
    shop_for(state, *viewed, kind="view")

    again = recommender.recommend(Request(key="ada", shelf="buy_again"))
    discover = recommender.recommend(Request(key="ada", shelf="discover"))
    for_you = recommender.recommend(Request(key="ada", shelf="for_you", k=100))

    assert set(again.item_ids) == set(bought)
    assert not set(discover.item_ids) & {*bought, *viewed}
    assert set(bought) <= set(for_you.item_ids)
    shown = [orjson.loads(orjson.dumps(item)) for item in for_you.items]
    assert {item["source"] for item in shown} == {"ann", "repurchase"}
    assert [item["position"] for item in shown] == list(range(1, 101))


def test_exclude_seen_can_be_chosen(recommender: Recommender, state: SqliteState) -> None:
    shop_for(state, "item-0003", "item-0019")
    hidden = recommender.recommend(Request(key="ada", exclude_seen=True, k=100))
    shown = recommender.recommend(Request(key="ada", shelf="discover", exclude_seen=False, k=100))
    assert not {"item-0003", "item-0019"} & set(hidden.item_ids)
    assert {"item-0003", "item-0019"} <= set(shown.item_ids)


def test_nothing_bought_yet_is_no_reason_for_an_empty_shelf(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0004", kind="view")
    answer = recommender.recommend(Request(key="ada", shelf="buy_again", k=5))
    assert len(answer.item_ids) == 5
    assert answer.served_by == "popular"
    assert answer.degraded == []


def test_unavailable_items_are_not_shown_unless_asked_for(
    bundle: Bundle, recommender: Recommender, state: SqliteState
) -> None:
    gone = [item for item in bundle.item_ids if int(item[-4:]) % 20 == 7]
    shop_for(state, *gone[:3], "item-0003")
    usual = recommender.recommend(Request(key="ada", k=100))
    every = recommender.recommend(Request(key="ada", k=100, filters=Filters(available_only=False)))
    assert not set(gone) & set(usual.item_ids)
    assert set(gone[:3]) <= set(every.item_ids)


@pytest.mark.parametrize("shelf", ["for_you", "discover", "buy_again"])
def test_filters_hold_on_every_shelf(
    bundle: Bundle, recommender: Recommender, state: SqliteState, shelf: str
) -> None:
    shop_for(state, "item-0003", "item-0004", "item-0005")
    filters = Filters(categories=("dairy > dairy A",), brands=("Acme",), min_price=5, max_price=40)
    answer = recommender.recommend(Request(key="ada", shelf=shelf, filters=filters))  # type: ignore[arg-type]
    assert len(answer.item_ids) > 3
    for row in answer.candidates.rows.tolist():
        item = bundle.catalog.item(row)
        assert item.category_path[:2] == ["DAIRY", "DAIRY A"]
        assert item.brand == "Acme"
        assert item.price is not None
        assert 5 <= item.price <= 40
        assert item.available


def test_a_filter_that_only_seen_items_pass_shows_them(
    bundle: Bundle, recommender: Recommender, state: SqliteState
) -> None:
    shelf_items = [
        item_id
        for row, item_id in enumerate(bundle.item_ids)
        if bundle.catalog.item(row).category_path[-1] == "DAIRY A1"
    ]
    shop_for(state, *shelf_items[:20], kind="view")
    request = Request(
        key="ada",
        shelf="discover",
        k=100,
        filters=Filters(categories=("DAIRY > DAIRY A > DAIRY A1",)),
    )
    answer = recommender.recommend(request)
    assert answer.item_ids
    assert set(answer.item_ids) <= set(shelf_items)


def test_a_filter_that_nothing_passes_gets_an_empty_shelf_and_a_sentence(
    recommender: Recommender,
) -> None:
    answer = recommender.recommend(Request(filters=Filters(min_price=1e9)))
    content = orjson.loads(answer.to_json())
    assert content["items"] == []
    assert "Widen" in content["message"]
    assert answer.degraded == []


def test_one_category_does_not_fill_the_shelf(
    bundle: Bundle, recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0019", "item-0035", kind="view")
    answer = recommender.recommend(Request(key="ada", k=10, shelf="discover"))
    shelves = [bundle.catalog.item(row).category_path[-1] for row in answer.candidates.rows]
    assert max(map(shelves.count, shelves)) <= 3


def test_a_history_sent_along_is_used_instead_of_the_stored_one(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0019")
    sent = History(["item-0004", "item-0020"], ["purchase"] * 2, [1, 2])
    answer = recommender.recommend(Request(key="ada", history=sent, shelf="buy_again"))
    assert set(answer.item_ids) == {"item-0004", "item-0020"}
    stored = recommender.recommend(Request(key="ada", shelf="buy_again"))
    assert set(stored.item_ids) == {"item-0003", "item-0019"}


def test_the_same_request_gets_the_same_answer(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0004")
    first, second = (recommender.recommend(Request(key="ada")) for _ in range(2))
    assert first.item_ids == second.item_ids
    assert (first.cached, second.cached) == (False, True)
    assert first.request_id != second.request_id


def test_a_broken_encoder_is_named_and_its_makeshift_vector_not_kept(
    bundle: Bundle, state: SqliteState, tmp_path: Path
) -> None:
    (tmp_path / "user_tower.onnx").write_bytes(b"not a model")
    broken = replace(bundle, encoder_path=tmp_path / "user_tower.onnx")
    recommender = Recommender(broken, state, LruVectorCache(10, 60), SETTINGS)
    shop_for(state, "item-0003", "item-0004")
    for _ in range(2):
        answer = recommender.recommend(Request(key="ada"))
        assert answer.served_by == "mix"
        assert answer.degraded[0].startswith("user_vector: the rung 'learned' failed")
        assert len(answer.item_ids) == 20


def test_precomputed_lists_stand_in_for_a_broken_index(bundle: Bundle, state: SqliteState) -> None:
    recommender = Recommender(broken_index(bundle), state, None, SETTINGS)
    shop_for(state, "item-0003", "item-0004")

    discover = recommender.recommend(Request(key="ada", shelf="discover"))
    again = recommender.recommend(Request(key="ada", shelf="buy_again"))
    filtered = recommender.recommend(Request(filters=Filters(categories=("DAIRY",))))

    shown = [shown_as(item) for item in discover.items]
    assert shown[0] == "co_visited"
    assert set(shown) == {"co_visited", "best_seller", "popular"}
    assert discover.served_by == "popular"  # the least personal of them
    assert not {"item-0003", "item-0004"} & set(discover.item_ids)
    assert discover.degraded == [
        "candidates: the source 'ann' failed (RuntimeError: the index is on fire)"
    ]
    assert len(discover.item_ids) == 20
    assert set(again.item_ids) == {"item-0003", "item-0004"}  # needs no index
    categories = {bundle.catalog.item(row).category_path[0] for row in filtered.candidates.rows}
    assert (filtered.served_by, categories) == ("popular", {"DAIRY"})


def test_similar_items_come_from_the_same_shelf(bundle: Bundle, recommender: Recommender) -> None:
    row = bundle.row_of_item["item-0003"]
    items, stages = recommender.similar(row, 5)
    shown = [orjson.loads(orjson.dumps(item)) for item in items]
    assert stages.degraded == []
    assert len(shown) == 5
    assert "item-0003" not in {item["item_id"] for item in shown}
    assert {item["category_path"][-1] for item in shown} == {"BAKERY B2"}
    assert all(item["available"] for item in shown)


def test_similar_items_fall_back_to_what_goes_with_one(bundle: Bundle, state: SqliteState) -> None:
    items, stages = Recommender(broken_index(bundle), state, None, SETTINGS).similar(0, 5)
    assert shown_as(items[0]) == "co_visited"
    assert bundle.item_ids[0] not in {orjson.loads(orjson.dumps(i))["item_id"] for i in items}
    assert len(items) == 5
    assert stages.degraded == ["candidates: RuntimeError: the index is on fire"]


def test_an_unreadable_history_still_gets_a_shelf(bundle: Bundle) -> None:
    state = SqliteState(None)
    recommender = Recommender(bundle, state, LruVectorCache(10, 60), SETTINGS)
    state.close()
    answer = recommender.recommend(Request(key="ada"))
    assert answer.served_by == "centroid"
    assert answer.degraded[0].startswith("history: StateError")
    assert len(answer.item_ids) == 20


def test_an_unreadable_history_leaves_the_cached_vector(bundle: Bundle) -> None:
    state = SqliteState(None)
    shop_for(state, "item-0003", "item-0019", kind="view")
    recommender = Recommender(bundle, state, LruVectorCache(10, 60), SETTINGS)
    before = recommender.recommend(Request(key="ada"))
    state.close()
    after = recommender.recommend(Request(key="ada"))
    assert (after.served_by, after.cached) == ("learned", True)
    assert after.degraded[0].startswith("history: StateError")
    assert after.item_ids == before.item_ids


def test_an_unreadable_catalog_still_gets_ids(
    bundle: Bundle, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(self: Catalog, rows: object) -> list[bytes]:
        raise OSError("the disk is away")

    monkeypatch.setattr(Catalog, "blobs", unreadable)
    answer = Recommender(bundle, state, None, SETTINGS).recommend(Request(k=3))
    shown = orjson.loads(answer.to_json())["items"]
    assert [item["item_id"] for item in shown] == answer.item_ids
    assert answer.degraded == ["hydrate: OSError: the disk is away"]


def test_without_any_vector_the_popularity_list_serves(bundle: Bundle, state: SqliteState) -> None:
    lost = replace(bundle, centroid=np.zeros(bundle.space.dim, np.float32))
    answer = Recommender(lost, state, None, SETTINGS).recommend(Request(k=5))
    assert answer.served_by == "popular"
    assert answer.degraded[0].startswith("user_vector: the rung 'centroid' failed")
    assert len(answer.item_ids) == 5


def test_the_vector_does_not_depend_on_what_is_asked_for(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0004")
    before = recommender.user_vector("ada")
    recommender.recommend(Request(key="ada", filters=Filters(categories=("DAIRY",))))
    after = recommender.user_vector("ada")
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.values, after.values)


def shelves_of(bundle: Bundle, answer: Recommendation) -> list[str]:
    return [bundle.catalog.item(row).category_path[-1] for row in answer.candidates.rows.tolist()]


def test_what_is_looked_at_steers_the_answer_and_is_not_shown(
    bundle: Bundle, recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0019", "item-0035", kind="view")  # BAKERY B2
    seed = "item-0004"  # DAIRY A1
    plain = recommender.recommend(Request(key="ada", k=20, exclude_seen=False))
    page = recommender.recommend(
        Request(key="ada", k=20, surface="product_page", seeds=[seed], exclude_seen=False)
    )
    assert seed not in page.item_ids
    assert "DAIRY A1" not in shelves_of(bundle, plain)[:3]
    assert {"DAIRY A1", "BAKERY B2"} <= set(shelves_of(bundle, page)[:6])
    assert "similar" in {SOURCES[source] for source in page.candidates.sources}


def test_each_thing_in_a_cart_finds_its_own_company(
    bundle: Bundle, recommender: Recommender
) -> None:
    cart = ["item-0004", "item-0008", "gone"]  # DAIRY A1, GROCERY A1
    answer = recommender.recommend(Request(k=12, surface="cart", seeds=cart))
    assert not set(answer.item_ids) & set(cart)
    assert {"DAIRY A1", "GROCERY A1"} <= set(shelves_of(bundle, answer)[:6])


def test_past_purchases_are_for_the_cart_and_not_for_a_product_page(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", "item-0040")
    sources = {
        surface: set(
            recommender.recommend(
                Request(key="ada", k=100, surface=surface, seeds=["item-0004"])
            ).candidates.sources.tolist()
        )
        for surface in ("product_page", "cart")
    }
    assert REPURCHASE not in sources["product_page"]
    assert REPURCHASE in sources["cart"]


def test_the_vector_does_not_depend_on_the_seeds(
    recommender: Recommender, state: SqliteState
) -> None:
    shop_for(state, "item-0003", kind="view")
    recommender.recommend(Request(key="ada", seeds=["item-0004"]))  # caches the vector
    plain = recommender.recommend(Request(key="ada"))
    assert plain.cached
    fresh = recommender.recommend(Request(history=History(["item-0003"], ["view"], [HOUR])))
    assert plain.item_ids == fresh.item_ids


@given(
    data=st.data(),
    shelf=st.sampled_from(["for_you", "discover", "buy_again"]),
    surface=st.sampled_from(["home", "product_page", "cart", "browse"]),
)
def test_seeds_and_excluded_items_are_never_shown(
    bundle: Bundle, stateless: Recommender, data: st.DataObject, shelf: Shelf, surface: Surface
) -> None:
    some = st.lists(st.sampled_from([*bundle.item_ids, "gone"]), max_size=40)
    seeds, exclude, past = data.draw(some), data.draw(some), data.draw(some)
    history = History(past, ["purchase"] * len(past), list(range(len(past))))
    answer = stateless.recommend(
        Request(history=history, k=50, shelf=shelf, surface=surface, seeds=seeds, exclude=exclude)
    )
    assert answer.item_ids
    assert answer.degraded == []
    assert len(set(answer.item_ids)) == len(answer.item_ids)
    assert not {*seeds, *exclude} & set(answer.item_ids)


def test_what_is_excluded_is_not_shown_by_the_popularity_list_either(
    bundle: Bundle, state: SqliteState
) -> None:
    recommender = Recommender(broken_index(bundle), state, None, SETTINGS)
    best = recommender.recommend(Request(k=10)).item_ids
    rest = recommender.recommend(Request(k=10, exclude=best, seeds=["item-0001"])).item_ids
    assert len(rest) == 10
    assert not {*best, "item-0001"} & set(rest)
