"""Qdrant behind the `VectorStore` protocol: a collection a space, its stamp in the metadata.

A filter becomes Qdrant's own, which it plans by itself: a scan of what passes where that is little,
else a walk through its graph. Where that ends with fewer than k, the query is answered exactly.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from vitrina.errors import DataError, MissingExtra, SourceError
from vitrina.filters import (
    EVERYTHING,
    Among,
    Available,
    ItemAttributes,
    NotAmong,
    PriceBetween,
    Selection,
    Term,
)
from vitrina.index.base import Found, IndexStats, RowArray
from vitrina.index.checks import new_rows, query_values
from vitrina.index.stamps import Stamp, absent, collection_name, known_terms, nothing_found, put
from vitrina.settings_sources import hide_passwords
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter

SCHEME: Final = "qdrant+"
ANSWER_SECONDS: Final = 5
POINTS_AT_ONCE: Final = 1000
STAMP: Final = "vitrina"
PAYLOAD: Final = {
    "item_id": "keyword",
    "price": "float",
    "available": "bool",
    "category": "keyword",
    "brand": "keyword",
    "condition": "keyword",
    "location": "keyword",
    "tag": "keyword",
}
"""Types of the indexes over what items are filtered by."""


class QdrantStore:
    """A collection in Qdrant. Safe to use from many threads with a server, not with a folder.

    address: qdrant+http://host:6333 or qdrant+https://:KEY@host, behind which a path may name what
    stands before the collection's name; qdrant+file:///folder: the client's own local mode, exact
    and for small catalogs, of one process at a time.
    """

    def __init__(self, address: str, space: EmbeddingSpace) -> None:
        """Connects when first used. Raises MissingExtra without qdrant-client."""
        try:
            from qdrant_client import models
        except ImportError as error:
            raise MissingExtra("qdrant-client", "qdrant", why="The index is in Qdrant. ") from error
        if not address.startswith(SCHEME):
            raise DataError(
                f"{hide_passwords(address)} is no address of Qdrant; write qdrant+http://host:6333."
            )
        parts = urlsplit(address.removeprefix(SCHEME))
        self.space = space
        self._models = models
        self._local = parts.scheme == "file"
        prefix = "" if self._local else parts.path.strip("/")
        self._collection = f"{prefix}_{collection_name(space)}".lstrip("_")
        self._name = f"Collection {self._collection} of {hide_passwords(address)}"
        self._stamp = Stamp(space)
        with self._errors():
            if self._local:
                self._client, self._close = _local_client(parts.path)
            else:
                self._client, self._close = _remote_client(parts.geturl())

    @classmethod
    def create(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the collection of this space to write to it, making it if there is none."""
        store = cls(address, space)
        with store._closed_by_errors(), store._errors():
            if not store._client.collection_exists(store._collection):
                store._make()
            store._stamp = store._stamped()
            store._stamp.require(space, store._name, complete=False)
        return store

    @classmethod
    def attach(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the sealed collection of this space to search it."""
        store = cls(address, space)
        with store._closed_by_errors(), store._errors():
            if not store._client.collection_exists(store._collection):
                raise absent(store._name)
            store._stamp = store._stamped()
            store._stamp.require(space, store._name, complete=True)
        return store

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """The k best rows a query, of those that pass the filters."""
        values = query_values(queries, self.space, k)
        asked = known_terms(allowed.filters, self._stamp.fields)
        if any(isinstance(term, Among) and not term.values for term in asked):
            return nothing_found(len(values), k)
        condition = self._condition(asked)
        scores, rows = self._nearest(values, k, condition, exact=False)
        short = rows[:, -1] < 0
        if short.any() and not self._local:
            scores[short], rows[short] = self._nearest(values[short], k, condition, exact=True)
        return scores, rows

    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None:
        """Set vectors and attributes of rows, new ones or known ones; found by the next search."""
        rows = new_rows(rows, vectors, self.space)
        stamp = self._stamp.with_fields(attributes.facets)
        with self._errors():
            if stamp != self._stamp:
                self._write(stamp)
            if len(rows):
                self._client.upload_collection(
                    self._collection,
                    vectors=vectors.values,
                    payload=_documents(attributes),
                    ids=rows.tolist(),
                    batch_size=POINTS_AT_ONCE,
                    wait=True,
                )

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        rows = np.asarray(rows, dtype=np.int64)
        points: list[int | str] = rows[rows >= 0].tolist()
        with self._errors():
            selector = self._models.PointIdsList(points=points)
            self._client.delete(self._collection, points_selector=selector, wait=True)

    def seal(self) -> None:
        """Let the collection be attached to. Qdrant builds its graph while it is filled."""
        with self._errors():
            self._write(self._stamp.sealed())

    def stats(self) -> IndexStats:
        """Items, and how they are searched."""
        with self._errors():
            items = self._client.count(self._collection, exact=True).count
        return IndexStats("exact" if self._local else "hnsw", items)

    def drop(self) -> None:
        """Remove the collection."""
        with self._errors():
            self._client.delete_collection(self._collection)

    def close(self) -> None:
        """Give connections back."""
        self._close()

    def _make(self) -> None:
        vectors = self._models.VectorParams(size=self.space.dim, distance=self._models.Distance.DOT)
        self._client.create_collection(
            self._collection, vectors_config=vectors, metadata={STAMP: self._stamp.to_json()}
        )
        with warnings.catch_warnings():  # local mode says that it has no use for them
            warnings.simplefilter("ignore", UserWarning)
            for field, kind in PAYLOAD.items():
                self._client.create_payload_index(
                    self._collection, field, self._models.PayloadSchemaType(kind)
                )

    def _stamped(self) -> Stamp:
        metadata = self._client.get_collection(self._collection).config.metadata
        return Stamp.from_json((metadata or {}).get(STAMP), self._name)

    def _write(self, stamp: Stamp) -> None:
        self._client.update_collection(self._collection, metadata={STAMP: stamp.to_json()})
        self._stamp = stamp

    def _nearest(self, values: FloatMatrix, k: int, condition: Filter, *, exact: bool) -> Found:
        params = self._models.SearchParams(exact=exact)
        requests = [
            self._models.QueryRequest(query=query, filter=condition, limit=k, params=params)
            for query in values.tolist()
        ]
        with self._errors():
            answers = self._client.query_batch_points(self._collection, requests)
        found = nothing_found(len(values), k)
        for place, answer in enumerate(answers):
            points = answer.points
            scores = np.fromiter((point.score for point in points), np.float32, len(points))
            rows = np.fromiter((point.id for point in points), np.int64, len(points))
            put(found, place, scores, rows)
        return found

    def _condition(self, asked: Sequence[Term]) -> Filter:
        """Qdrant's form of what an item has to be."""
        models = self._models
        must: list[Any] = []
        must_not: list[Any] = []
        for term in asked:
            match term:
                case Available():
                    is_so = models.MatchValue(value=True)
                    must.append(models.FieldCondition(key="available", match=is_so))
                case PriceBetween(low, high):
                    between = models.Range(gte=low, lte=high)
                    must.append(models.FieldCondition(key="price", range=between))
                case Among(field, values) | NotAmong(field, values):
                    among = models.FieldCondition(key=field, match=models.MatchAny(any=values))
                    (must if isinstance(term, Among) else must_not).append(among)
        condition: Filter = models.Filter(must=must, must_not=must_not)
        return condition

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises SourceError where Qdrant cannot be reached or refuses."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, QdrantException, RuntimeError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SourceError(f"{self._name}: {hide_passwords(said)}.") from None

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _documents(attributes: ItemAttributes) -> Iterator[dict[str, Any]]:
    """What `ItemAttributes.documents` says of all items, made as it is sent."""
    for first in range(0, len(attributes), POINTS_AT_ONCE):
        yield from attributes.documents(slice(first, first + POINTS_AT_ONCE))


def _remote_client(url: str) -> tuple[QdrantClient, Callable[[], None]]:
    """A client of a server, and how it is closed."""
    from qdrant_client import QdrantClient

    parts = urlsplit(url)
    server = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
    client = QdrantClient(
        url=server, api_key=parts.password, timeout=ANSWER_SECONDS, check_compatibility=False
    )
    return client, client.close


_folders: dict[str, tuple[QdrantClient, int]] = {}
"""The clients of folders, each with the stores that use it: a folder opens once only."""
_opening = threading.Lock()


def _local_client(folder: str) -> tuple[QdrantClient, Callable[[], None]]:
    """A client of a folder, shared with the other stores of this process, and how it is closed."""
    from qdrant_client import QdrantClient

    with _opening:
        if folder not in _folders:
            client = QdrantClient(path=folder, force_disable_check_same_thread=True)
            _folders[folder] = client, 0
        client, users = _folders[folder]
        _folders[folder] = client, users + 1
    once = ExitStack()
    once.callback(_release, folder)
    return client, once.close


def _release(folder: str) -> None:
    with _opening:
        client, users = _folders.pop(folder)
        if users > 1:
            _folders[folder] = client, users - 1
        else:
            client.close()
