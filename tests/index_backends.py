"""Every backend that the conformance suite of indexes runs, and the shop it runs on.

A new backend is a line of `BACKENDS`: its name, whether the real thing runs or a published contract
of it, and a function that fills it with the shop's items; a store one of `STORES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, Protocol, Self
from urllib.parse import urlencode
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from stores import postgres_of_this_process
from vitrina.filters import Facet, Filters, ItemAttributes, NamedField, Selection, select
from vitrina.index.base import Found, IndexStats, Kind, RowArray, VectorIndex, VectorStore
from vitrina.index.opening import load_kind
from vitrina.index.pgvector import PgVectorStore
from vitrina.index.qdrant import QdrantStore
from vitrina.index.tuning import CANDIDATES, build_index
from vitrina.settings import IndexSettings
from vitrina.space import EmbeddingSpace, Vectors, normalise

ITEMS, DIM, CLUSTERS = 3000, 24, 40
SPACE = EmbeddingSpace("items_vtest", DIM, "f" * 64)
NEXT_SPACE = EmbeddingSpace("items_vnext", DIM, "d" * 64)

ODD = (
    "'; DROP TABLE items; --",
    '") or (1 == 1',
    "100%_\\",
    "{$ne: null}",
    "Größe ß 日本",
    "a'b\"c",
)
"""Names that are nothing but names, however a store would like to read them."""

BRANDS = ("Acme", "Borealis", "Cumulus", "Delta", *ODD)
CONDITIONS = ("New", "Used", "Refurbished")
LOCATIONS = ("Berlin", "Lyon", "Porto", *ODD)
TAGS = ("sale", "bio", "vegan", "rare", *ODD)
CATEGORIES = tuple(
    name
    for group in range(CLUSTERS // 10)
    for name in (f"G{group}", *(f"G{group} > C{10 * group + place}" for place in range(10)))
)


class Shelf(Protocol):
    """A filled backend, as the suite uses one."""

    def search(self, queries: Vectors, k: int, filters: Filters) -> Found: ...
    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None: ...
    def delete(self, rows: RowArray) -> None: ...
    def stats(self) -> IndexStats: ...

    def reopened(self, space: EmbeddingSpace) -> Self:
        """As another process would find it: saved and loaded, or attached to."""
        ...

    def close(self) -> None: ...


Runs = Literal["real", "local", "contract"]
Place = tuple[str, Callable[[], None]]
Fill = Callable[[Vectors, ItemAttributes, Path], Shelf]


@dataclass(frozen=True)
class Backend:
    """runs: the real thing, or a server of ours that speaks its published protocol.

    fill: vectors and attributes of rows 0 … n − 1, and an empty folder for it to use.
    """

    name: str
    runs: Runs
    fill: Fill

    def __str__(self) -> str:
        return f"{self.name}-{self.runs}"


class Embedded:
    """An index in this process, with its catalog's columns beside."""

    def __init__(self, index: VectorIndex, attributes: ItemAttributes, folder: Path) -> None:
        self.index = index
        self._attributes = attributes
        self._folder = folder

    def search(self, queries: Vectors, k: int, filters: Filters) -> Found:
        return self.index.search(queries, k, select(filters, self._attributes))

    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None:
        self.index.upsert(rows, vectors)
        self._attributes = overwritten(self._attributes, rows, attributes)

    def delete(self, rows: RowArray) -> None:
        self.index.delete(rows)

    def stats(self) -> IndexStats:
        return self.index.stats()

    def reopened(self, space: EmbeddingSpace) -> Embedded:
        path = self._folder / f"index-{len(list(self._folder.iterdir()))}"
        self.index.save(path)
        vectors = Vectors(space, shop()[0].values)
        return Embedded(type(self.index).load(path, vectors), self._attributes, self._folder)

    def close(self) -> None:
        pass


def of_ours(kind: Kind) -> Backend:
    """One of our own indexes, built and tuned to a recall of .99 once, and then loaded."""

    @cache
    def tuned() -> bytes:
        settings = IndexSettings(kind=kind, recall_target=0.99)
        index, info = build_index(shop()[0], settings, some_queries())
        assert info.kind == kind, f"no effort of {kind} reaches the recall"
        with NamedTemporaryFile() as file:
            index.save(Path(file.name))
            return Path(file.name).read_bytes()

    def fill(vectors: Vectors, attributes: ItemAttributes, folder: Path) -> Shelf:
        path = folder / "tuned"
        path.write_bytes(tuned())
        return Embedded(load_kind(kind, path, vectors), attributes, folder)

    return Backend("scann" if kind == "scann" else f"faiss_{kind}", "real", fill)


class Stored:
    """A collection in a store, sealed and attached to."""

    def __init__(
        self, store: VectorStore, address: str, ends: Callable[[], None] = lambda: None
    ) -> None:
        """ends: removes what was made for it."""
        self._store = store
        self._address = address
        self._ends = ends

    def search(self, queries: Vectors, k: int, filters: Filters) -> Found:
        return self._store.search(queries, k, Selection(filters, None))

    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None:
        self._store.upsert(rows, vectors, attributes)

    def delete(self, rows: RowArray) -> None:
        self._store.delete(rows)

    def stats(self) -> IndexStats:
        return self._store.stats()

    def reopened(self, space: EmbeddingSpace) -> Stored:
        return Stored(type(self._store).attach(self._address, space), self._address)

    def close(self) -> None:
        self._store.close()
        self._ends()


@dataclass(frozen=True)
class Store:
    """A kind of store.

    runs: a server (`real`) or what its client brings for small catalogs (`local`). place: makes an
    empty place; gives its address, and how to remove it.
    """

    name: str
    runs: Runs
    kind: type[VectorStore]
    place: Callable[[Path], Place]

    def __str__(self) -> str:
        return f"{self.name}-{self.runs}"

    def fill(self, vectors: Vectors, attributes: ItemAttributes, folder: Path) -> Stored:
        address, ends = self.place(folder)
        store = self.kind.create(address, vectors.space)
        store.upsert(np.arange(len(vectors)), vectors, attributes)
        store.seal()
        store.close()
        return Stored(self.kind.attach(address, vectors.space), address, ends)


def postgres_schema(_: Path) -> Place:
    """A schema of its own in a database that this process has started, or is told of."""
    import psycopg

    address = os.environ.get("VITRINA_TEST_PGVECTOR_URL") or postgres_of_this_process().uri
    schema = f"vitrina_test_{uuid4().hex}"

    def execute(statement: str) -> None:
        with psycopg.connect(address, autocommit=True) as db:
            db.execute(statement)

    def ends() -> None:
        execute(f"SET client_min_messages TO warning; DROP SCHEMA {schema} CASCADE")

    execute(f"CREATE EXTENSION IF NOT EXISTS vector; CREATE SCHEMA {schema}")
    options = urlencode({"options": f"-csearch_path={schema},public"})
    return address + ("&" if "?" in address else "?") + options, ends


QDRANT_URL = os.environ.get("VITRINA_TEST_QDRANT_URL")


def qdrant_collections(folder: Path) -> Place:
    """A folder for the client's local mode, or names of their own on the server one is told of."""
    pytest.importorskip("qdrant_client")
    if QDRANT_URL is None:
        return f"qdrant+file://{folder / 'qdrant'}", lambda: None
    prefix = f"vitrina_test_{uuid4().hex}"
    address = f"{QDRANT_URL.rstrip('/')}/{prefix}"

    def ends() -> None:
        for space in (SPACE, NEXT_SPACE):
            store = QdrantStore(address, space)
            store.drop()
            store.close()

    return address, ends


STORES: Sequence[Store] = (
    Store("pgvector", "real", PgVectorStore, postgres_schema),
    Store("qdrant", "real" if QDRANT_URL else "local", QdrantStore, qdrant_collections),
)

BACKENDS: Sequence[Backend] = (
    *(of_ours(kind) for kind in CANDIDATES),
    # A local mode that compares item by item, in Python, has a small suite: test_stores.py.
    *(Backend(store.name, store.runs, store.fill) for store in STORES if store.runs == "real"),
)


def clustered(seed: int, rows: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors around CLUSTERS centres, and each one's cluster."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM))
    rng = np.random.default_rng(seed)
    cluster = rng.integers(CLUSTERS, size=rows)
    values = normalise(centres[cluster] + 0.6 * rng.standard_normal((rows, DIM)))
    return Vectors(SPACE, values), cluster


@cache
def some_queries(rows: int = 40) -> Vectors:
    return clustered(2, rows)[0]


@cache
def shop(rows: int = ITEMS, seed: int = 1, first: int = 0) -> tuple[Vectors, ItemAttributes]:
    """Items: a category a cluster, so that categories are corners of the space; prices, evenly
    between 0 and 1, and the rest at random, so that they are not. Some know nothing of themselves.
    """
    vectors, cluster = clustered(seed, rows)
    rng = np.random.default_rng(seed + 100)

    def facet(names: Sequence[str], *shape: int) -> Facet:
        codes = rng.integers(-1, len(names), size=(rows, *shape))
        return Facet(codes.astype(np.int32), list(names))

    group = cluster // 10
    levels = np.stack([11 * group, 11 * group + 1 + cluster % 10], axis=1).astype(np.int32)
    levels[rng.random(rows) < 0.05] = -1
    facets: dict[NamedField, Facet] = {
        "category": Facet(levels, list(CATEGORIES)),
        "brand": facet(BRANDS),
        "condition": facet(CONDITIONS),
        "location": facet(LOCATIONS),
        "tag": facet(TAGS, 2),
    }
    vectors.values.flags.writeable = False
    price = np.where(rng.random(rows) < 0.03, np.nan, rng.random(rows)).astype(np.float32)
    ids = [f"item-{first + row}" for row in range(rows)]
    ids[: len(ODD)] = [f"{odd} {first + row}" for row, odd in enumerate(ODD)][:rows]
    return vectors, ItemAttributes(ids, price, rng.random(rows) < 0.9, facets)


def overwritten(
    attributes: ItemAttributes, rows: RowArray, others: ItemAttributes
) -> ItemAttributes:
    """The attributes with those of `others`, which are of the same names, at `rows`."""
    size = max(len(attributes), int(rows.max(initial=-1)) + 1)

    def with_others(old: NDArray, new: NDArray, blank: object) -> NDArray:
        longer = np.full((size, *old.shape[1:]), blank, old.dtype)
        longer[: len(old)] = old
        longer[rows] = new
        return longer

    ids = [*attributes.item_ids, *[""] * (size - len(attributes))]
    for row, item_id in zip(rows, others.item_ids, strict=True):
        ids[row] = item_id
    return ItemAttributes(
        ids,
        with_others(attributes.price, others.price, np.nan),
        with_others(attributes.available, others.available, False),
        {
            field: Facet(with_others(facet.codes, others.facets[field].codes, -1), facet.names)
            for field, facet in attributes.facets.items()
        },
    )
