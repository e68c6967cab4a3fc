"""Items that a shop has added since its bundle was made, with rows of their own after the bundle's.

Their vectors are those that the item tower gives to what is new, by their content alone, so they
live in the bundle's space. Vectors and index of the bundle stay as they are,
mapped and shared; those of the added items stand beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.bundle import AddedItems, Bundle
from vitrina.bundle.catalog import FACETS, CatalogColumns
from vitrina.bundle.item_encoder import ItemEncoder
from vitrina.bundle.item_fields import Names, prices, shown_fields
from vitrina.content import ItemContent
from vitrina.errors import BundleError
from vitrina.filters import Facet
from vitrina.rank.repurchase import repeat_rates
from vitrina.space import FloatMatrix
from vitrina.state.catalog_changes import ItemChange

log = logging.getLogger(__name__)

PLACING: Final = ("title", "description", "category_path", "attributes")
"""Without any of these, nothing says among which others an item belongs."""

ENCODED_AT_ONCE: Final = 512
"""Items whose words are in memory at a time, 0.5 kB each of them."""

_T = TypeVar("_T", bound=np.generic)


def with_added(bundle: Bundle, changes: Sequence[ItemChange]) -> Bundle:
    """The bundle after changes of items that it does not hold itself.

    An item has a row from when it was put until it is deleted. One that nothing is said of that it
    could be placed by has none, and none has where the bundle is of a version that lacks what it
    takes.
    """
    before = {} if bundle.added is None else bundle.added.items
    put = {
        change.item_id: _fields(change)
        for change in changes
        if any(change.since(0).get(name) for name in PLACING)
    }
    gone = {change.item_id for change in changes} & before.keys() - put.keys()
    encode = _encoder(bundle.path, bundle.manifest.version) if put else None
    if encode is None:
        put = {}
    if not put and not gone:
        return bundle
    vectors = {} if bundle.added is None else dict(zip(before, bundle.added.vectors, strict=True))
    if encode is not None:
        vectors |= zip(put, _encoded(encode, list(put.values())), strict=True)
    items = {**before, **put}
    item_ids = sorted(items.keys() - gone)
    return _over(
        bundle,
        AddedItems(
            {item_id: items[item_id] for item_id in item_ids},
            np.array([vectors[item_id] for item_id in item_ids], np.float32).reshape(
                -1, bundle.space.dim
            ),
        ),
    )


def _over(bundle: Bundle, added: AddedItems) -> Bundle:
    """The bundle with these items after its own, in the place of those that it had there."""
    own, catalog, items = bundle.manifest.items, bundle.catalog, list(added.items.values())
    none = np.zeros(len(items), np.int64)
    categories = Names(catalog.categories)
    category = [categories.levels(item["category_path"]) for item in items]
    available = np.array([item["available"] for item in items], np.bool_)

    def lengthened(column: NDArray[_T], more: Sequence[Any] | NDArray[Any]) -> NDArray[_T]:
        further = np.asarray(more, column.dtype).reshape(-1, *column.shape[1:])
        return np.concatenate([column[:own], further])

    def with_names(field: str) -> Facet:
        facet = catalog.facets[field]
        names = Names(facet.names)
        return Facet(
            lengthened(facet.codes, [names.code(item.get(field)) for item in items]), names.names
        )

    row_of_item = bundle.row_of_item.copy()
    for item_id in () if bundle.added is None else bundle.added.items:
        del row_of_item[item_id]
    row_of_item |= {item_id: own + place for place, item_id in enumerate(added.items)}
    popular = bundle.popular_rows
    return replace(
        bundle,
        added=added if items else None,
        item_ids=[*bundle.item_ids[:own], *added.items],
        row_of_item=row_of_item,
        popularity=lengthened(bundle.popularity, none),
        popular_rows=np.concatenate([popular[popular < own], own + np.flatnonzero(available)]),
        repeat_rate=lengthened(bundle.repeat_rate, repeat_rates(none, none)),
        catalog=catalog.amended(
            CatalogColumns(
                price=lengthened(catalog.price, prices(items)),
                available=lengthened(catalog.available, available),
                category=lengthened(catalog.category, category),
                categories=categories.names,
                facets={field: with_names(field) for field in FACETS},
            ),
            listed=None if catalog.listed is None else lengthened(catalog.listed, none == 0),
            lines={own + place: orjson.dumps(item) for place, item in enumerate(items)},
        ),
    )


def _fields(change: ItemChange) -> dict[str, Any]:
    return shown_fields({"item_id": change.item_id, **change.since(0)})


def _encoded(encode: ItemEncoder, items: Sequence[Mapping[str, Any]]) -> FloatMatrix:
    starts = range(0, len(items), ENCODED_AT_ONCE)
    parts = (ItemContent.of(items[start : start + ENCODED_AT_ONCE]) for start in starts)
    return np.concatenate([encode(part) for part in parts])


@lru_cache(maxsize=2)  # of the bundle in service and the one in the shadow
def _encoder(path: Path, version: str) -> ItemEncoder | None:
    """That of a version, in its folder. What is damaged is as good as missing: the rest serves."""
    try:
        return ItemEncoder.load(path)
    except BundleError:
        log.exception("Items that bundle %s lacks are not shown.", version)
        return None
