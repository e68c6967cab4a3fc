"""A bundle with the changes that its shop has made since: prices, texts, stock, items gone.

Vectors, index and rankings stay those of the bundle; what filters, lists and answers read of an
item is as the shop says now. What it has added since comes after the bundle's own (`bundle.added`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.added import with_added
from vitrina.bundle.bundle import Bundle
from vitrina.bundle.catalog import FACETS, Catalog, CatalogColumns
from vitrina.bundle.item_fields import Names, prices, shown_fields
from vitrina.filters import Facet
from vitrina.index.base import RowArray
from vitrina.state.catalog_changes import ItemChange

_T = TypeVar("_T", bound=np.generic)


def amend(bundle: Bundle, changes: Sequence[ItemChange]) -> Bundle:
    """The bundle as of the last of `changes`, which follow those that it was amended by before.

    Changes from before the bundle's catalog was read are in it, or its files say otherwise, and
    then they are the newer word; they change nothing. Of items that it lacks, the files say
    nothing: what the shop has put counts, whenever that was.
    """
    if not changes:
        return bundle
    own, read_us = bundle.manifest.items, _catalog_read_us(bundle)
    row_of = {change.item_id: bundle.row_of_item.get(change.item_id, own) for change in changes}
    rows = {
        row_of[change.item_id]: None if change.deleted else change.since(read_us)
        for change in changes
        if row_of[change.item_id] < own and change.changed_us >= read_us
    }
    before = bundle.catalog
    catalog = _amended(before, rows) if rows else copy(before)
    catalog.sequence = changes[-1].sequence
    popular = bundle.popular_rows
    if catalog.available is not before.available:
        back = np.flatnonzero(catalog.available & ~before.available)
        popular = _inserted(popular[catalog.available[popular]], back, bundle.popularity)
    amended = replace(bundle, catalog=catalog, popular_rows=popular)
    return with_added(amended, [change for change in changes if row_of[change.item_id] >= own])


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
    items = [
        shown_fields(orjson.loads(base.blob(row)) | (fields or {}))
        for row, fields in changes.items()
    ]
    deleted = np.array([fields is None for fields in changes.values()])
    available = np.array([item["available"] for item in items]) & ~deleted
    category, categories = base.category[rows], Names(catalog.categories)
    codes = {field: base.facets[field].codes[rows] for field in FACETS}
    names = {field: Names(catalog.facets[field].names) for field in FACETS}
    for place, fields in enumerate(changes.values()):
        if fields is None:
            continue
        if "category_path" in fields:
            category[place] = categories.levels(items[place]["category_path"])
        for field in FACETS:
            if field in fields:
                codes[field][place] = names[field].code(fields[field])
    listed = catalog.listed
    if listed is None and deleted.any():
        listed = np.ones(len(catalog), np.bool_)
    return catalog.amended(
        CatalogColumns(
            price=_set(catalog.price, rows, prices(items)),
            available=_set(catalog.available, rows, available),
            category=_set(catalog.category, rows, category),
            categories=categories.names,
            facets={
                field: _facet(catalog.facets[field], rows, codes[field], names[field])
                for field in FACETS
            },
        ),
        listed=None if listed is None else _set(listed, rows, ~deleted),
        lines={row: orjson.dumps(item) for row, item in zip(changes, items, strict=True)},
    )


def _facet(facet: Facet, rows: RowArray, codes: NDArray[np.int32], names: Names) -> Facet:
    """The facet with `codes` into `names` at `rows`."""
    changed = _set(facet.codes, rows, codes)
    return facet if changed is facet.codes else Facet(changed, names.names)


def _set(column: NDArray[_T], rows: RowArray, values: NDArray[_T]) -> NDArray[_T]:
    """The column with `values` at `rows`: a copy, unless they are there already."""
    if np.array_equal(column[rows], values, equal_nan=column.dtype.kind == "f"):
        return column
    column = column.copy()
    column[rows] = values
    return column
