"""What every store promises beside its searches: a collection's way from made to removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index_backends import NEXT_SPACE, ODD, SPACE, STORES, Store, shop, some_queries
from stores import postgres_of_this_process
from vitrina.errors import DataError, SourceError, SpaceMismatch
from vitrina.filters import EVERYTHING, Filters, Selection, compile_filter
from vitrina.index.pgvector import PgVectorStore
from vitrina.index.qdrant import QdrantStore

FEW = 50


@pytest.fixture(params=STORES, ids=str)
def store(request: pytest.FixtureRequest) -> Store:
    chosen: Store = request.param
    return chosen


@pytest.fixture
def address(store: Store, tmp_path: Path) -> Iterator[str]:
    address, ends = store.place(tmp_path)
    yield address
    ends()


def test_what_is_not_there_or_not_complete_cannot_be_attached_to(
    store: Store, address: str
) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        store.kind.attach(address, SPACE)
    making = store.kind.create(address, SPACE)
    with pytest.raises(SourceError, match="is not complete"):
        store.kind.attach(address, SPACE)
    making.seal()
    attached = store.kind.attach(address, SPACE)
    assert attached.stats().items == 0
    assert (attached.search(some_queries(2), 3)[1] == -1).all()
    attached.close()
    making.close()


def test_an_interrupted_copy_is_taken_up_again(store: Store, address: str) -> None:
    vectors, attributes = shop(FEW)
    rows = np.arange(FEW)
    first = store.kind.create(address, SPACE)
    first.upsert(rows, vectors, attributes)
    first.close()
    again = store.kind.create(address, SPACE)
    assert again.stats().items == FEW
    again.upsert(rows, vectors, attributes)
    again.seal()
    attached = store.kind.attach(address, SPACE)
    assert attached.stats().items == FEW
    assert attached.search(vectors, 1)[1][:, 0].tolist() == rows.tolist()
    attached.close()
    again.close()


def test_spaces_lie_beside_one_another_until_one_is_dropped(store: Store, address: str) -> None:
    vectors, attributes = shop(FEW)
    spaces = [SPACE, NEXT_SPACE]
    for space in spaces:
        made = store.kind.create(address, space)
        made.upsert(np.arange(FEW), replace(vectors, space=space), attributes)
        made.seal()
        made.close()
    old, new = (store.kind.attach(address, space) for space in spaces)
    old.drop()
    old.close()
    with pytest.raises(SourceError, match="does not exist"):
        store.kind.attach(address, SPACE)
    assert new.stats().items == FEW
    new.close()


def test_another_space_of_the_same_name_is_refused_and_left_alone(
    store: Store, address: str
) -> None:
    made = store.kind.create(address, SPACE)
    with pytest.raises(SpaceMismatch, match=r"items_vtest.*fingerprint"):
        store.kind.create(address, replace(SPACE, fingerprint="e" * 64))
    made.seal()
    store.kind.attach(address, SPACE).close()
    made.close()


def test_a_filter_on_what_its_items_have_no_column_of_is_refused(
    store: Store, address: str
) -> None:
    vectors, attributes = shop(FEW)
    without = {name: facet for name, facet in attributes.facets.items() if name != "brand"}
    made = store.kind.create(address, SPACE)
    made.upsert(np.arange(FEW), vectors, replace(attributes, facets=without))
    made.seal()
    attached = store.kind.attach(address, SPACE)
    with pytest.raises(DataError, match="no column 'brand'"):
        attached.search(some_queries(1), 3, Selection(Filters(brands=("Acme",)), None))
    attached.search(some_queries(1), 3, Selection(Filters(tags=("sale",)), None))
    attached.close()
    made.close()


def test_postgres_that_goes_away_is_an_error_and_one_that_comes_back_is_asked_again() -> None:
    vectors, attributes = shop(FEW)
    server = postgres_of_this_process()
    made = PgVectorStore.create(server.uri, SPACE)
    made.upsert(np.arange(FEW), vectors, attributes)
    made.seal()
    server.kill()
    for _ in range(2):
        with pytest.raises(SourceError, match="Table vitrina_items_vtest of postgresql://"):
            made.search(some_queries(1), 3, EVERYTHING)
    with pytest.raises(SourceError) as away:
        PgVectorStore.attach(server.uri.replace("postgres:@", "postgres:secret@"), SPACE)
    assert "secret" not in str(away.value)
    server.start()
    assert made.search(vectors, 1)[1][:, 0].tolist() == list(range(FEW))
    made.drop()
    made.close()


@pytest.mark.parametrize("local", [store for store in STORES if store.runs == "local"], ids=str)
def test_a_local_mode_finds_what_brute_force_finds_whatever_the_filter(
    local: Store, tmp_path: Path
) -> None:
    vectors, attributes = shop(200)
    shelf = local.fill(vectors, attributes, tmp_path)
    odd = [Filters(brands=(name,), deny=[f"{name} 1"]) for name in ODD]
    for filters in (
        Filters(available_only=False),
        Filters(),
        Filters(categories=("g1", "G2 > c22")),
        Filters(conditions=("used",), min_price=0.2, max_price=0.9),
        Filters(locations=("Porto", "lyon"), max_price=0.5),
        Filters(tags=("vegan", "rare"), brands=("acme", "DELTA")),
        Filters(deny=[f"item-{row}" for row in range(20, 190)]),
        Filters(allow=["item-7", "item-199", "gone"], available_only=False),
        Filters(allow=()),
        *odd,
    ):
        mask = compile_filter(filters, attributes)
        passing = np.arange(200) if mask is None else np.flatnonzero(mask)
        scores, rows = shelf.search(some_queries(3), 30, filters)
        for query, found, named in zip(some_queries(3).values, scores, rows, strict=True):
            best = np.sort(vectors.values[passing] @ query)[::-1][:30]
            np.testing.assert_allclose(found[: len(best)], best, atol=1e-5)
            assert np.isin(named[: len(best)], passing).all()
            assert (named[len(best) :] == -1).all()
    new, described = shop(2, seed=5, first=200)
    shelf.upsert(np.array([7, 250]), new, described)
    shelf.delete(np.array([8, 9, 999, -1]))
    again = shelf.reopened(SPACE)
    assert again.stats().items == 199
    assert again.search(new, 1, Filters(available_only=False))[1].tolist() == [[7], [250]]
    with pytest.raises(SpaceMismatch, match=r"items_vtest.*fingerprint"):
        shelf.reopened(replace(SPACE, fingerprint="e" * 64))
    again.close()
    shelf.close()


def test_qdrant_that_is_not_there_is_an_error_that_names_it() -> None:
    pytest.importorskip("qdrant_client")
    with pytest.raises(SourceError, match=r"shop_vitrina_items_vtest of qdrant\+https:") as away:
        QdrantStore.attach("qdrant+https://:secret@127.0.0.1:1/shop", SPACE)
    assert "secret" not in str(away.value)
    with pytest.raises(DataError, match=r"write qdrant\+http://host:6333"):
        QdrantStore.attach("http://127.0.0.1:1", SPACE)


def test_a_table_that_vitrina_did_not_write_is_left_alone(tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgres_of_this_process().uri, autocommit=True) as db:
        db.execute("CREATE TABLE vitrina_items_vtest (name text)")
        try:
            with pytest.raises(SourceError, match="Vitrina did not write it"):
                PgVectorStore.create(postgres_of_this_process().uri, SPACE)
        finally:
            db.execute("DROP TABLE vitrina_items_vtest")
