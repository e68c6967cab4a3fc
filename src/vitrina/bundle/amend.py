"""A bundle with the changes that its shop has made since: prices, texts, stock, items gone.

Vectors, index and rankings stay those of the bundle; what filters, lists and answers read of an
item is as the shop says now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.bundle.catalog import CATEGORY_LEVELS, ITEM_FIELDS, Catalog, CatalogColumns
from vitrina.index.base import RowArray
from vitrina.schema import CATEGORY_SEPARATOR
from vitrina.state.catalog_changes import ItemChange

_T = TypeVar("_T", bound=np.generic)


def amend(bundle: Bundle, changes: Sequence[ItemChange]) -> Bundle:
    """The bundle as of the last of `changes`, which follow those that it was amended by before.

    Changes from before the bundle's catalog was read are in it, or its files say otherwise, and
    then they are the newer word; they change nothing. Those of items that it lacks wait for the
    next bundle.
    """
    if not changes:
        return bundle
    read_us = _catalog_read_us(bundle)
    rows = {
        bundle.row_of_item[change.item_id]: None if change.deleted else change.since(read_us)
        for change in changes
        if change.item_id in bundle.row_of_item and change.changed_us >= read_us
    }
    before = bundle.catalog
    catalog = _amended(before, rows) if rows else copy(before)
    catalog.sequence = changes[-1].sequence
    popular = bundle.popular_rows
    if catalog.available is not before.available:
        back = np.flatnonzero(catalog.available & ~before.available)
        popular = _inserted(popular[catalog.available[popular]], back, bundle.popularity)
    return replace(bundle, catalog=catalog, popular_rows=popular)


def _inserted(popular: RowArray, rows: RowArray, popularity: NDArray[np.float32]) -> RowArray:
    """`popular`, most popular first, with more rows in their places; equals are in row order."""
    rows = rows[np.argsort(-popularity[rows], kind="stable")]
    falling = -popularity[popular]
    firsts = np.searchsorted(falling, -popularity[rows], side="left")
    lasts = np.searchsorted(falling, -popularity[rows], side="right")
    places = [
        first + np.searchsorted(popular[first:last], row)
        for first, last, row in zip(firsts, lasts, rows, strict=True)
    ]
    return np.insert(popular, places, rows) if places else popular


def _catalog_read_us(bundle: Bundle) -> int:
    """When the bundle's catalog was read, in microseconds since 1970."""
    manifest = bundle.manifest
    moment = datetime.fromisoformat(manifest.lineage.catalog_read_at or manifest.created_at)
    return int(moment.timestamp() * 1e6)


def _amended(catalog: Catalog, changes: Mapping[int, Mapping[str, Any] | None]) -> Catalog:
    """The catalog with fields of these rows set (None: the item is deleted).

    Columns that stay the same are shared with the old one.
    """
    rows, base = np.array(list(changes), np.int64), catalog.base
    items = [_item(base, row, fields or {}) for row, fields in changes.items()]
    deleted = np.array([fields is None for fields in changes.values()])
    available = np.array([item["available"] for item in items]) & ~deleted
    prices = np.array([item.get("price", math.nan) for item in items], np.float32)
    category, brand = base.category[rows], base.brand[rows]
    categories, brands = _Names(catalog.categories), _Names(catalog.brands)
    for place, fields in enumerate(changes.values()):
        if fields is None:
            continue
        if "category_path" in fields:
            category[place] = _levels(items[place]["category_path"], categories)
        if "brand" in fields:
            name = fields["brand"]
            brand[place] = brands.code(name) if name else _Names.NONE
    listed = catalog.listed
    if listed is None and deleted.any():
        listed = np.ones(len(catalog), np.bool_)
    return catalog.amended(
        CatalogColumns(
            price=_set(catalog.price, rows, prices),
            available=_set(catalog.available, rows, available),
            category=_set(catalog.category, rows, category),
            brand=_set(catalog.brand, rows, brand),
            categories=categories.names,
            brands=brands.names,
        ),
        listed=None if listed is None else _set(listed, rows, ~deleted),
        lines={row: orjson.dumps(item) for row, item in zip(changes, items, strict=True)},
    )


def _item(base: Catalog, row: int, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The item's JSON object: what the bundle says of it, and what was changed since."""
    item = orjson.loads(base.blob(row)) | changed
    fields = {name: item[name] for name in ITEM_FIELDS if item.get(name) not in (None, "", {})}
    return fields | {
        "available": item.get("available") is not False,
        "category_path": item.get("category_path") or [],
    }


class _Names:
    """A vocabulary that new names are added to; codes given before stay what they are."""

    NONE = -1

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._codes: dict[str, int] | None = None

    def code(self, name: str) -> int:
        if self._codes is None:  # large vocabularies are not read for a change of prices
            self._codes = {known: code for code, known in enumerate(self.names)}
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names = [*self.names, name]
        return self._codes[name]


def _levels(path: Sequence[str], categories: _Names) -> list[int]:
    """The code of each level's full path."""
    shown = path[:CATEGORY_LEVELS]
    codes = [
        categories.code(CATEGORY_SEPARATOR.join(shown[: level + 1])) for level in range(len(shown))
    ]
    return codes + [_Names.NONE] * (CATEGORY_LEVELS - len(codes))


def _set(column: NDArray[_T], rows: RowArray, values: NDArray[_T]) -> NDArray[_T]:
    """The column with `values` at `rows`: a copy, unless they are there already."""
    if np.array_equal(column[rows], values, equal_nan=column.dtype.kind == "f"):
        return column
    column = column.copy()
    column[rows] = values
    return column
