"""Writing a bundle: complete or absent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import save_file

from vitrina.bundle import bundle as layout
from vitrina.bundle.catalog import FACETS, encode_catalog
from vitrina.bundle.files import complete_or_absent, sha256_of
from vitrina.bundle.lists import Lists, best_sellers
from vitrina.bundle.manifest import (
    ITEM_PREFIX,
    USER_PREFIX,
    FileEntry,
    Lineage,
    Manifest,
    write_manifest,
)
from vitrina.errors import BundleError
from vitrina.index.base import IndexInfo, VectorIndex
from vitrina.index.opening import index_file
from vitrina.space import Vectors, require_same_space


@dataclass(frozen=True, slots=True)
class BundleContents:
    """What goes into a bundle, from memory and from training's files.

    created_at: the moment given to `manifest.define_space`, which names the bundle.
    items: rows of the lake's items table (keys of `schema.ITEM_COLUMNS`), sorted by item_id.
    vectors: one per item, in the same order; index: built from them.
    popularity float32 [n]: recency-weighted count as of the end of the data.
    repeat_rate float32 [n]: share of an item's buyers who come back to it.
    centroid float32 [dim]: unit vector for shoppers of unknown taste.
    covisited int32 [n, m]: rows met in the same visits as each item, best first, -1 after the last.
    item_tower, user_tower: weights (safetensors); encoder: the user tower as ONNX.
    event_types: in code order. ranking: parameters for `rank`. optional: files named as in
    `bundle.OPTIONAL`.
    """

    created_at: datetime
    items: Sequence[Mapping[str, Any]]
    vectors: Vectors
    index: VectorIndex
    index_info: IndexInfo
    popularity: NDArray[np.float32]
    repeat_rate: NDArray[np.float32]
    centroid: NDArray[np.float32]
    covisited: NDArray[np.int32]
    item_tower: Path
    user_tower: Path
    encoder: Path
    event_types: Sequence[str]
    max_history: int
    lineage: Lineage
    ranking: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    optional: Sequence[Path] = ()


def write_bundle(folder: Path, contents: BundleContents) -> Path:
    """Write a bundle to `folder` and return it. It appears there complete, or not at all.

    Raises BundleError if `folder` exists or the parts do not fit together, SpaceMismatch if
    index and vectors are of different spaces or the space was not defined by these parts.
    """
    item_ids = _item_ids(contents)
    require_same_space(contents.index.space, contents.vectors.space, "index", "item vectors")
    with complete_or_absent(folder) as partial:
        shutil.copyfile(contents.item_tower, partial / layout.ITEM_TOWER)
        shutil.copyfile(contents.user_tower, partial / layout.USER_TOWER)
        shutil.copyfile(contents.encoder, partial / layout.ENCODER)
        for path in contents.optional:
            shutil.copyfile(path, partial / path.name)
        contents.index.save(partial / index_file(contents.index_info.kind))
        _write_items(partial, item_ids, contents)
        _write_json(partial / layout.RANKING, contents.ranking)
        _write_json(partial / layout.METRICS, contents.metrics)
        manifest = _manifest(partial, contents)
        layout.require_fingerprint(
            folder, item_ids, contents.vectors, manifest.files[layout.ITEM_TOWER]
        )
        write_manifest(partial, manifest)
    return folder


def file_entry(path: Path) -> FileEntry:
    """Checksum and size of a file, as the manifest lists them."""
    return FileEntry(sha256_of(path), path.stat().st_size)


def _item_ids(contents: BundleContents) -> list[str]:
    """Ids in row order, after checking that all parts speak of the same items."""
    ids = [item["item_id"] for item in contents.items]
    for row, (before, after) in enumerate(pairwise(ids), start=1):
        if before >= after:
            raise BundleError(
                f"Items must be sorted by item_id, each once: row {row} ('{after}') follows "
                f"'{before}'."
            )
    n, dim = len(ids), contents.vectors.space.dim
    if n == 0:
        raise BundleError("A bundle needs at least one item; the items table is empty.")
    shapes = {
        "vectors": (contents.vectors.values.shape, (n, dim)),
        "popularity": (contents.popularity.shape, (n,)),
        "repeat_rate": (contents.repeat_rate.shape, (n,)),
        "centroid": (contents.centroid.shape, (dim,)),
        "covisited": (contents.covisited.shape[:1], (n,)),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise BundleError(
                f"{n} items with vectors of {dim} numbers need {name} of shape {expected}; "
                f"found {found}."
            )
    return ids


def _write_items(folder: Path, item_ids: list[str], contents: BundleContents) -> None:
    columns, lines, offsets = encode_catalog(contents.items)
    (folder / layout.CATALOG).write_bytes(lines)
    _write_json(folder / layout.ITEM_IDS, item_ids)
    names = {layout.NAMES_OF[field]: columns.facets[field].names for field in FACETS}
    _write_json(folder / layout.VOCABULARY, {"categories": columns.categories, **names})
    Lists(
        contents.covisited,
        best_sellers(
            contents.popularity, columns.available, columns.category, len(columns.categories)
        ),
    ).save(folder / layout.LISTS)
    arrays = {
        "vectors": contents.vectors.values.astype(np.float32),
        "popularity": contents.popularity.astype(np.float32),
        "repeat_rate": contents.repeat_rate.astype(np.float32),
        "centroid": contents.centroid.astype(np.float32),
        "price": columns.price,
        "available": columns.available.astype(np.uint8),
        "category": columns.category,
        "offsets": offsets,
        **{field: columns.facets[field].codes for field in FACETS},
    }
    # safetensors writes the underlying buffer as it is, so views must become whole arrays.
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / layout.ITEMS
    )


def _write_json(path: Path, values: Any) -> None:
    path.write_bytes(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY))


def _manifest(folder: Path, contents: BundleContents) -> Manifest:
    space = contents.vectors.space
    version = space.version.removeprefix(ITEM_PREFIX)
    index = index_file(contents.index_info.kind)
    names = [*layout.FILES, index, layout.LISTS, *(path.name for path in contents.optional)]
    return Manifest(
        version=version,
        created_at=contents.created_at.astimezone(UTC).isoformat(timespec="seconds"),
        space=space,
        user_embedding_version=USER_PREFIX + version,
        event_types=list(contents.event_types),
        max_history=contents.max_history,
        items=len(contents.items),
        index=contents.index_info,
        lineage=contents.lineage,
        files={name: file_entry(folder / name) for name in names},
    )
