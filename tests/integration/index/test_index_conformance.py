"""What every searcher of items promises, held against brute force for each backend.

The names of the tests say which backend ran, and whether the real one or a contract of it. A new
one joins `index_backends.BACKENDS` and runs every test unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index_backends import (
    BACKENDS,
    BRANDS,
    CATEGORIES,
    CONDITIONS,
    DIM,
    ITEMS,
    LOCATIONS,
    ODD,
    SPACE,
    TAGS,
    Backend,
    Shelf,
    shop,
    some_queries,
)
from vitrina.errors import DataError, SpaceMismatch
from vitrina.filters import Filters, ItemAttributes, compile_filter
from vitrina.index.recall import overlap
from vitrina.space import Vectors

RECALL = 0.95
ALL = Filters(available_only=False)

Filled = Callable[[], Shelf]


@pytest.fixture(scope="module", params=BACKENDS, ids=str)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(scope="module")
def shared(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """The shop in this backend; no test changes it."""
    shelf = backend.fill(*shop(), tmp_path_factory.mktemp(backend.name))
    yield shelf
    shelf.close()


@pytest.fixture
def filled(backend: Backend, tmp_path: Path) -> Iterator[Filled]:
    """Makes shops of one's own, to change."""
    shelves: list[Shelf] = []

    def fill() -> Shelf:
        folder = tmp_path / str(len(shelves))
        folder.mkdir()
        shelves.append(backend.fill(*shop(), folder))
        return shelves[-1]

    yield fill
    for shelf in shelves:
        shelf.close()


def passing(filters: Filters, attributes: ItemAttributes | None = None) -> NDArray[np.bool_]:
    items = shop()[1] if attributes is None else attributes
    mask = compile_filter(filters, items)
    return np.ones(len(items), bool) if mask is None else mask


def brute_force(asked: Vectors, k: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    scores = np.where(allowed, asked.values @ shop()[0].values.T, -np.inf)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, rows, 1) > -np.inf, rows, -1)


def check(shelf: Shelf, filters: Filters, k: int, asked: Vectors | None = None) -> None:
    """What is found passes, is all there is or k, and is what brute force finds."""
    asked = some_queries() if asked is None else asked
    scores, rows = shelf.search(asked, k, filters)
    allowed = passing(filters)
    found = rows >= 0
    assert scores.shape == rows.shape == (len(asked), k)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert allowed[rows[found]].all()
    assert (found.sum(axis=1) == min(k, allowed.sum())).all()
    assert (scores[~found] == -np.inf).all()
    assert overlap(rows, brute_force(asked, k, allowed)) >= RECALL


@pytest.mark.parametrize("k", [1, 10, 500, 1000, ITEMS + 10])
def test_a_search_finds_what_brute_force_finds(shared: Shelf, k: int) -> None:
    check(shared, ALL, k)


@pytest.mark.parametrize("k", [1, 20, 500])
@pytest.mark.parametrize("price", [1.0, 0.5, 0.1, 0.02, 0.001])
def test_a_filter_that_is_spread_over_the_space_costs_no_recall(
    shared: Shelf, price: float, k: int
) -> None:
    """Prices lie evenly between 0 and 1: this is about the share of items that pass."""
    check(shared, Filters(max_price=price), k)


@pytest.mark.parametrize(
    "categories", [CATEGORIES[:22], CATEGORIES[:1], CATEGORIES[5:6], ("g0>c3",)], ids=len
)
def test_a_corner_of_the_space_fills_the_shelf_for_whoever_asks(
    shared: Shelf, categories: tuple[str, ...]
) -> None:
    check(shared, Filters(categories=categories), 100)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(brands=("acme", "DELTA")),
        Filters(min_price=0.2, max_price=0.4),
        Filters(conditions=("used",)),
        Filters(locations=("Porto", "lyon")),
        Filters(tags=("vegan", "rare")),
        Filters(deny=[f"item-{row}" for row in range(100, 2900)]),
        Filters(allow=["item-7", "item-8", "item-2999", "gone"], available_only=False),
        Filters(allow=()),
        Filters(brands=("Gone",)),
        Filters(categories=("G1",), brands=("Acme",), tags=("sale",), min_price=0.1),
    ],
    ids=[
        "default",
        "brands",
        "prices",
        "conditions",
        "locations",
        "tags",
        "deny",
        "allow",
        "none",
        "unknown",
        "all",
    ],
)
def test_each_kind_of_filter_lets_through_what_it_says(shared: Shelf, filters: Filters) -> None:
    check(shared, filters, 30)


def some_of(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), st.lists(st.sampled_from(names), min_size=1, max_size=3))


bound = st.one_of(st.none(), st.floats(0, 1, width=32))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        Filters,
        categories=some_of(CATEGORIES),
        brands=some_of(BRANDS),
        min_price=bound,
        max_price=bound,
        available_only=st.booleans(),
        conditions=some_of(CONDITIONS),
        locations=some_of(LOCATIONS),
        tags=some_of(TAGS),
    ),
    st.sampled_from([1, 40]),
)
def test_any_filter_finds_all_that_there_is(shared: Shelf, filters: Filters, k: int) -> None:
    check(shared, filters, k, some_queries(3))


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_names_are_only_names(shared: Shelf, name: str) -> None:
    """Quotes, wildcards and code of any query language find what is so named, and nothing else."""
    for filters in (
        Filters(brands=(name,)),
        Filters(locations=(name,)),
        Filters(tags=(name,)),
        Filters(categories=(name,)),
        Filters(allow=[f"{name} {ODD.index(name)}"], available_only=False),
        Filters(deny=[f"{name} {ODD.index(name)}"]),
    ):
        check(shared, filters, 20, some_queries(2))
    assert shared.stats().items == ITEMS


def test_scores_are_inner_products_highest_first(shared: Shelf) -> None:
    scores, rows = shared.search(some_queries(), 30, ALL)
    expected = np.einsum("qd,qkd->qk", some_queries().values, shop()[0].values[rows])
    np.testing.assert_allclose(scores, expected, atol=1e-3)  # an index may hold float16
    assert (np.diff(scores, axis=1) <= 0).all()


def test_one_query_gets_the_answer_it_gets_in_a_batch(shared: Shelf) -> None:
    scores, rows = shared.search(some_queries(), 20, ALL)
    alone = Vectors(SPACE, some_queries().values[7:8])
    alone_scores, alone_rows = shared.search(alone, 20, ALL)
    np.testing.assert_allclose(alone_scores[0], scores[7], atol=1e-5)
    assert overlap(alone_rows, rows[7:8]) == 1.0


def test_it_says_how_many_items_it_holds(shared: Shelf) -> None:
    stats = shared.stats()
    assert stats.items == ITEMS
    assert stats.kind


def test_a_new_item_is_found_and_a_deleted_one_is_not(filled: Filled) -> None:
    shelf, (new, attributes) = filled(), shop(3, seed=5, first=ITEMS)
    rows = np.array([ITEMS, ITEMS + 1, ITEMS + 50])
    shelf.upsert(rows, new, attributes)
    assert shelf.search(new, 1, ALL)[1][:, 0].tolist() == rows.tolist()
    only = Filters(allow=[attributes.item_ids[2]], available_only=False)
    assert shelf.search(new, 2, only)[1].tolist() == [[ITEMS + 50, -1]] * 3
    shelf.delete(np.array([ITEMS, 999_999, -1]))
    found = shelf.search(new, 1, ALL)[1][:, 0].tolist()
    assert found[0] != ITEMS
    assert found[1:] == rows[1:].tolist()
    assert shelf.stats().items == ITEMS + 2


def test_an_upsert_replaces_vector_and_attributes(filled: Filled) -> None:
    shelf, (moved, changed) = filled(), shop(2, seed=5)
    rows = np.array([20, 30])
    changed = replace(changed, price=np.array([7, 8], np.float32), available=np.ones(2, bool))
    shelf.upsert(rows, moved, changed)
    assert shelf.stats().items == ITEMS
    assert shelf.search(moved, 1, ALL)[1][:, 0].tolist() == rows.tolist()
    before = Vectors(SPACE, shop()[0].values[rows])
    scores, found = shelf.search(before, 5, ALL)
    assert (scores[found == rows[:, None]] < 0.99).all()
    dear = shelf.search(moved, 3, Filters(min_price=5))[1]
    assert np.sort(dear, axis=1).tolist() == [[-1, 20, 30]] * 2


def test_deleted_items_do_not_count_as_passing_a_filter(filled: Filled) -> None:
    shelf = filled()
    shelf.delete(np.arange(50, 58))
    asked = Filters(allow=[f"item-{row}" for row in range(50, 60)], available_only=False)
    _, rows = shelf.search(some_queries(), 5, asked)
    assert {row for row in np.unique(rows).tolist() if row >= 0} == {58, 59}


def test_an_empty_one_finds_nothing_and_can_be_filled_again(filled: Filled) -> None:
    shelf, (vectors, attributes) = filled(), shop()
    shelf.delete(np.arange(ITEMS))
    scores, rows = shelf.search(some_queries(), 5, Filters())
    assert (rows == -1).all()
    assert (scores == -np.inf).all()
    shelf.upsert(np.arange(ITEMS), vectors, attributes)
    check(shelf, Filters(), 20)


@pytest.mark.parametrize("rows", [[ITEMS, ITEMS], [-1]], ids=["twice", "negative"])
def test_a_row_that_is_given_twice_or_negative_is_refused(shared: Shelf, rows: list[int]) -> None:
    with pytest.raises(ValueError, match="Row"):
        shared.upsert(np.array(rows), *shop(len(rows), seed=5, first=ITEMS))
    assert shared.stats().items == ITEMS


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 3.0, 0.0])
def test_vectors_that_are_not_unit_vectors_are_refused(shared: Shelf, spoil: float) -> None:
    vectors, attributes = shop(20, seed=5, first=ITEMS)
    values = vectors.values.copy()
    values[17] = spoil
    with pytest.raises(DataError, match=r"Vector 17 has length .* \(1 such"):
        shared.upsert(np.arange(ITEMS, ITEMS + 20), Vectors(SPACE, values), attributes)
    assert shared.stats().items == ITEMS


def test_a_query_of_nan_is_refused(shared: Shelf) -> None:
    with pytest.raises(DataError, match="NaN"):
        shared.search(Vectors(SPACE, np.full((1, DIM), np.nan, np.float32)), 5, ALL)


def test_zero_neighbours_are_refused(shared: Shelf) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        shared.search(some_queries(1), 0, ALL)


def test_vectors_of_another_space_are_refused_naming_both(shared: Shelf) -> None:
    other = replace(SPACE, version="items_vother", fingerprint="e" * 64)
    stranger = Vectors(other, some_queries(2).values)
    with pytest.raises(SpaceMismatch, match=r"items_vother.*items_vtest"):
        shared.search(stranger, 5, ALL)
    with pytest.raises(SpaceMismatch, match=r"items_vother.*items_vtest"):
        shared.upsert(np.arange(ITEMS, ITEMS + 2), stranger, shop(2, first=ITEMS)[1])


def test_opened_again_it_answers_as_before(filled: Filled) -> None:
    shelf = filled()
    shelf.delete(np.arange(0, ITEMS, 7))
    again = shelf.reopened(SPACE)
    for filters in (ALL, Filters(max_price=0.3)):
        before, after = (each.search(some_queries(), 50, filters) for each in (shelf, again))
        assert overlap(after[1], before[1]) == 1.0
        np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    new, attributes = shop(1, seed=5, first=ITEMS)
    again.upsert(np.array([ITEMS]), new, attributes)
    assert again.search(new, 1, ALL)[1].tolist() == [[ITEMS]]
    again.close()


def test_one_that_holds_another_space_is_refused_by_name(shared: Shelf) -> None:
    with pytest.raises(SpaceMismatch, match=r"items_vtest.*fingerprint"):
        shared.reopened(replace(SPACE, fingerprint="e" * 64))
