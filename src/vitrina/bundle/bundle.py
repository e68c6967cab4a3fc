"""A loaded release: everything the online side needs, and nothing that needs training code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.arrays import map_arrays
from vitrina.bundle.catalog import FACETS, Catalog, CatalogColumns
from vitrina.bundle.files import sha256_of
from vitrina.bundle.lists import Lists
from vitrina.bundle.manifest import WAY_OUT, FileEntry, Manifest, read_manifest
from vitrina.errors import BundleError, SpaceMismatch
from vitrina.filters import Facet
from vitrina.index.base import RowArray, VectorIndex
from vitrina.index.opening import index_file, load_kind
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors, fingerprint

log = logging.getLogger(__name__)

ITEM_TOWER: Final = "item_tower.safetensors"
USER_TOWER: Final = "user_tower.safetensors"
ENCODER: Final = "user_tower.onnx"
ITEMS: Final = "items.safetensors"
ITEM_IDS: Final = "item_ids.json"
VOCABULARY: Final = "vocabulary.json"
CATALOG: Final = "catalog.jsonl"
INDEX: Final = index_file("exact")
"""The index, unless it is ScaNN's."""
RANKING: Final = "ranking.json"
METRICS: Final = "metrics.json"
FILES: Final = (
    ITEM_TOWER,
    USER_TOWER,
    ENCODER,
    ITEMS,
    ITEM_IDS,
    VOCABULARY,
    CATALOG,
    RANKING,
    METRICS,
)
"""What every bundle holds beside the manifest and its checksum, and its index."""

NAMES_OF: Final = {"brand": "brands", "condition": "conditions", "location": "locations"}
"""The keys of `VOCABULARY` for each of `catalog.FACETS`; their codes are arrays of `ITEMS`."""

LISTS: Final = "lists.safetensors"
"""Precomputed lists. Bundles from before there were any lack the file, and are served without."""

TOWERS: Final = "towers.json"
TOWERS_FORMAT: Final = 2
"""Of that file and the weights it describes. It grows when older ones cannot be read any more."""

CARD: Final = "model_card.md"
CURVES: Final = "learning_curves.svg"
INDEX_TUNING: Final = "index_tuning.json"
INDEX_FRONT: Final = "index_tuning.svg"
OPTIONAL: Final = (TOWERS, CARD, CURVES, INDEX_TUNING, INDEX_FRONT)
"""What it may hold, for people and for the next training; of these, serving reads what the rows of
the item tower's tables stand for (`item_encoder`), in `TOWERS`."""


@dataclass(frozen=True, slots=True)
class AddedItems:
    """Items that the shop has added since a bundle was made (`bundle.added`).

    items: JSON objects by id, in the order of the rows, which follow the bundle's own. vectors
    float32 [m, dim]: unit vectors, in the same order.
    """

    items: Mapping[str, Mapping[str, Any]]
    vectors: FloatMatrix


@dataclass(frozen=True, slots=True)
class Bundle:
    """One release, its large files mapped into memory and shared with other processes.

    Row numbers index `item_ids`, `catalog` and the rest; arrays are read-only. `vectors`, `index`
    and `lists` end with the release's own items; `vectors_of` knows the added ones, too.

    popularity float32 [n]: recency-weighted, as of the end of the data; popular_rows int64 [m]:
    available rows, most popular first; repeat_rate float32 [n]: share of an item's buyers who
    come back to it (`rank.repurchase.repeat_rates`); centroid float32 [dim]: the unit vector to
    ask with when a shopper's taste is unknown (`towers.newcomers`); lists: what to show without an
    index; ranking: parameters for `rank`; metrics: evaluation results; encoder_path: the user
    tower for ONNX Runtime.
    """

    path: Path
    manifest: Manifest
    item_ids: list[str]
    row_of_item: dict[str, int]
    vectors: Vectors
    index: VectorIndex
    popularity: NDArray[np.float32]
    popular_rows: RowArray
    repeat_rate: NDArray[np.float32]
    centroid: NDArray[np.float32]
    catalog: Catalog
    lists: Lists
    ranking: Mapping[str, Any]
    metrics: Mapping[str, Any]
    encoder_path: Path
    added: AddedItems | None = None

    def vectors_of(self, rows: RowArray) -> FloatMatrix:
        """Unit vectors [..., dim] of items, by rows int64 [...]."""
        own = self.vectors.values
        if self.added is None:
            return own[rows]
        vectors, added = own[np.minimum(rows, len(own) - 1)], rows >= len(own)
        vectors[added] = self.added.vectors[rows[added] - len(own)]
        return vectors

    @property
    def space(self) -> EmbeddingSpace:
        return self.manifest.space

    def stocked(self, price: NDArray[np.float32], available: NDArray[np.bool_]) -> Bundle:
        """The bundle with other prices (NaN: unknown) and another stock, each [n].

        Columns that filters read, that is; the items' JSON stays as it is.
        """
        by_popularity = np.argsort(-self.popularity, kind="stable")
        return replace(
            self,
            catalog=self.catalog.stocked(price, available),
            popular_rows=by_popularity[available[by_popularity]],
        )

    @property
    def user_embedding_version(self) -> str:
        return self.manifest.user_embedding_version


def load_bundle(path: Path, verify: bool = True) -> Bundle:
    """Load the bundle in folder `path`.

    verify: compare every file with its checksum, and the vectors with the space's fingerprint;
    False saves the reading when this process has just verified them.
    Raises BundleError for a missing, damaged or foreign file, naming it; SpaceMismatch if the
    index or the vectors come from another space than the manifest says.
    """
    manifest = read_manifest(path)
    require_files(path, manifest)
    if verify:
        verify_checksums(path, manifest)
    item_ids = _read_json(path / ITEM_IDS, list)
    arrays = _read_arrays(path / ITEMS, manifest)
    if len(item_ids) != manifest.items:
        raise BundleError(
            f"{path / ITEM_IDS} lists {len(item_ids)} items, the manifest counts "
            f"{manifest.items}. {WAY_OUT}"
        )
    vectors = Vectors(manifest.space, arrays["vectors"])
    if verify:
        require_fingerprint(path, item_ids, vectors, manifest.files[ITEM_TOWER])
    index_path = path / index_file(manifest.index.kind)
    index = load_kind(manifest.index.kind, index_path, vectors)
    if len(index) != manifest.items:
        raise SpaceMismatch(
            f"{index_path} holds {len(index)} vectors, {manifest.space.version} has "
            f"{manifest.items} items. Build the index again with 'vitrina index'."
        )
    catalog = _load_catalog(path, arrays)
    order = np.argsort(-arrays["popularity"], kind="stable")
    return Bundle(
        path=path,
        manifest=manifest,
        item_ids=item_ids,
        row_of_item={item_id: row for row, item_id in enumerate(item_ids)},
        vectors=vectors,
        index=index,
        popularity=arrays["popularity"],
        popular_rows=order[catalog.available[order]],
        repeat_rate=arrays["repeat_rate"],
        centroid=arrays["centroid"],
        catalog=catalog,
        lists=_load_lists(path, manifest, len(catalog.categories)),
        ranking=_read_json(path / RANKING, dict),
        metrics=_read_json(path / METRICS, dict),
        encoder_path=path / ENCODER,
    )


def files_of(manifest: Manifest) -> list[str]:
    """Every file of this bundle beside the manifest and its checksum."""
    index = index_file(manifest.index.kind)
    return [*FILES, index, *(name for name in (LISTS, *OPTIONAL) if name in manifest.files)]


def require_files(path: Path, manifest: Manifest) -> None:
    """Raise BundleError, naming it, for a file that is missing or not of its recorded size."""
    for name in files_of(manifest):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(f"The manifest of {path} does not list {name}. {WAY_OUT}")
        if not (path / name).is_file():
            raise BundleError(f"{path / name} is missing. {WAY_OUT}")
        size = (path / name).stat().st_size
        if size != entry.bytes:
            raise BundleError(
                f"{path / name} has {size} bytes, the manifest says {entry.bytes}: it was cut or "
                f"changed after publishing. {WAY_OUT}"
            )


def verify_checksums(path: Path, manifest: Manifest) -> None:
    """Raise BundleError, naming it, for the first file whose bytes are not those published."""
    names = files_of(manifest)
    with ThreadPoolExecutor() as pool:
        for name, digest in zip(names, pool.map(sha256_of, (path / n for n in names)), strict=True):
            if digest != manifest.files[name].sha256:
                raise BundleError(
                    f"{path / name} has SHA-256 {digest[:12]}…, the manifest says "
                    f"{manifest.files[name].sha256[:12]}…: it was changed after publishing. "
                    f"{WAY_OUT}"
                )


def require_fingerprint(
    path: Path, item_ids: list[str], vectors: Vectors, item_tower: FileEntry
) -> None:
    """Raise SpaceMismatch unless ids, vectors and item tower are those that define the space."""
    found = fingerprint(item_ids, vectors.values, item_tower.sha256)
    space = vectors.space
    if found != space.fingerprint:
        raise SpaceMismatch(
            f"The item vectors of {path} have fingerprint {found[:12]}…, but {space.version} has "
            f"{space.fingerprint[:12]}…: ids, vectors and item tower come from different bundles. "
            f"{WAY_OUT}"
        )


def _read_json(path: Path, kind: type) -> Any:
    try:
        values = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{path} is not JSON: {error}. {WAY_OUT}") from error
    if not isinstance(values, kind):
        raise BundleError(
            f"{path} holds a {type(values).__name__}, expected a {kind.__name__}. {WAY_OUT}"
        )
    return values


def _read_arrays(path: Path, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """The arrays of items.safetensors, of exactly the types and shapes the format fixes."""
    n, dim = manifest.items, manifest.space.dim
    expected = {
        "vectors": (np.float32, (n, dim)),
        "popularity": (np.float32, (n,)),
        "repeat_rate": (np.float32, (n,)),
        "centroid": (np.float32, (dim,)),
        "price": (np.float32, (n,)),
        "available": (np.uint8, (n,)),
        "category": (np.int32, (n, 3)),
        "brand": (np.int32, (n,)),
        "offsets": (np.int64, (n + 1,)),
    }
    arrays = map_arrays(path)
    expected |= {field: (np.int32, (n,)) for field in FACETS if field in arrays}
    for name, (dtype, shape) in expected.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.shape != shape:
            what = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise BundleError(
                f"{path}: '{name}' is {what}, expected {np.dtype(dtype)} of shape {shape}. "
                f"{WAY_OUT}"
            )
    return arrays


def _load_lists(path: Path, manifest: Manifest, categories: int) -> Lists:
    if LISTS in manifest.files:
        return Lists.load(path / LISTS, manifest.items, categories)
    log.warning(
        "Bundle %s has no %s: an older Vitrina made it. Should the index fail, popular items stand "
        "in for it. 'vitrina index' makes a bundle with lists of its own for each item.",
        manifest.version,
        LISTS,
    )
    return Lists.empty(manifest.items, categories)


def _load_catalog(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Catalog:
    vocabulary = _read_json(path / VOCABULARY, dict)
    coded = [field for field in FACETS if field in arrays]
    if missing := {"categories", *(NAMES_OF[field] for field in coded)} - set(vocabulary):
        raise BundleError(f"{path / VOCABULARY} has no '{min(missing)}'. {WAY_OUT}")
    facets = {field: Facet(arrays[field], vocabulary[NAMES_OF[field]]) for field in coded}
    if uncoded := [field for field in FACETS if field not in arrays]:
        log.warning(
            "Bundle %s has no codes of each item's %s: an older Vitrina made it. Until a newer one "
            "is published, nothing passes a filter by these.",
            path.name,
            " and ".join(uncoded),
        )
        nowhere = np.full(len(arrays["price"]), -1, np.int32)
        facets |= {field: Facet(nowhere, []) for field in uncoded}
    size, end = (path / CATALOG).stat().st_size, int(arrays["offsets"][-1])
    if size != end:
        raise BundleError(
            f"{path / CATALOG} has {size} bytes, but the offsets in {ITEMS} end at {end}: the two "
            f"come from different bundles. {WAY_OUT}"
        )
    columns = CatalogColumns(
        price=arrays["price"],
        available=arrays["available"].astype(np.bool_),
        category=arrays["category"],
        categories=vocabulary["categories"],
        facets=facets,
    )
    return Catalog(columns, path / CATALOG, arrays["offsets"])
