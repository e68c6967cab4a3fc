"""The catalog snapshot in a bundle: columns for filters and ranking, ready JSON for answers."""

from __future__ import annotations

import math
import mmap
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.filters import Facet, NamedField, unknown_field
from vitrina.schema import CATEGORY_SEPARATOR, Item

CATEGORY_LEVELS: Final = 3
"""Category levels that get codes; deeper levels stay in the item's JSON only."""

ITEM_FIELDS: Final = (
    "item_id",
    "title",
    "description",
    "category_path",
    "price",
    "currency",
    "brand",
    "location",
    "condition",
    "image_url",
    "available",
    "attributes",
)

FACETS: Final = ("brand", "condition", "location")
"""Fields that filters read by codes: of each, an item has one name at most."""

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class CatalogColumns:
    """What filters and ranking read of each item, in row order.

    price float32 [n], NaN where unknown; available bool [n]; category int32 [n, 3]: a code into
    `categories` per level, -1 where the path is shorter. `categories` holds full paths of all
    levels ("A", "A > B", …). facets: one for each of FACETS.
    """

    price: NDArray[np.float32]
    available: NDArray[np.bool_]
    category: NDArray[np.int32]
    categories: list[str]
    facets: Mapping[str, Facet]


class Catalog:
    """The columns (see `CatalogColumns`), and each item's JSON straight from the mapped file.

    narrowest int32 [n]: the code of the last level of each item's category, -1 for none.
    """

    def __init__(self, columns: CatalogColumns, path: Path, offsets: NDArray[np.int64]) -> None:
        """path: catalog.jsonl; offsets int64 [n + 1]: where each line starts, then the end."""
        self.price = columns.price
        self.available = columns.available
        self.category = columns.category
        self.narrowest = narrowest_category(columns.category)
        self.categories = columns.categories
        self.facets = columns.facets
        self._paths = Facet(columns.category, columns.categories)
        self.listed: NDArray[np.bool_] | None = None
        """[n]: False for items that were deleted since; None while none was."""
        self.sequence = 0
        """Number of the last change that this catalog was amended by (`bundle.amend`)."""
        self._base: Catalog | None = None
        self._amended_lines: Mapping[int, bytes] = {}
        self._offsets = offsets
        with path.open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.price)

    def having(self, field: NamedField, names: Sequence[str]) -> NDArray[np.bool_]:
        """As `filters.FilterColumns.having`, by category and by each of FACETS."""
        if field == "category":
            return self._paths.having(names)
        if field not in self.facets:
            raise unknown_field(field, ("category", *self.facets))
        return self.facets[field].having(names)

    def stocked(self, price: NDArray[np.float32], available: NDArray[np.bool_]) -> Catalog:
        """The same items at other prices (NaN: unknown) and with other ones to be had, each [n]."""
        catalog = copy(self)
        catalog.price, catalog.available = price, available
        return catalog

    @property
    def base(self) -> Catalog:
        """The catalog as the bundle has it."""
        return self if self._base is None else self._base

    def amended(
        self,
        columns: CatalogColumns,
        listed: NDArray[np.bool_] | None,
        lines: Mapping[int, bytes],
    ) -> Catalog:
        """The same items with other columns; lines: JSON objects of rows that are not as stored."""
        catalog = copy(self)
        catalog._base = self.base
        catalog.price, catalog.available = columns.price, columns.available
        catalog.category, catalog.categories = columns.category, columns.categories
        if columns.category is not self.category:
            catalog.narrowest = narrowest_category(columns.category)
            catalog._paths = Facet(columns.category, columns.categories)
        catalog.facets = columns.facets
        catalog.listed = listed
        catalog._amended_lines = {**self._amended_lines, **lines}
        return catalog

    def row_listed(self, row: int) -> bool:
        """Whether the item is still in the shop's catalog."""
        return self.listed is None or bool(self.listed[row])

    def blob(self, row: int) -> bytes:
        """The item's JSON object, ready made; nothing is parsed. Raises DataError if it is gone."""
        return self.blobs(np.array([row]))[0]

    def blobs(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The JSON object of each of the items; as `blob`."""
        lines, amended = self._lines, self._amended_lines
        stored = np.minimum(rows, len(self._offsets) - 2)  # those added since are all amended
        starts, ends = self._offsets[stored].tolist(), self._offsets[stored + 1].tolist()
        blobs = [lines[start : end - 1] for start, end in zip(starts, ends, strict=True)]
        if amended:
            blobs = [amended.get(row, line) for row, line in zip(rows.tolist(), blobs, strict=True)]
        for row, line in zip(rows.tolist(), blobs, strict=True):
            if line[:1] != b"{":
                raise DataError(f"The catalog has no line for row {row}.")
        return blobs

    def item(self, row: int) -> Item:
        """The item as an object."""
        return Item(**orjson.loads(self.blob(row)))


def encode_catalog(
    items: Sequence[Mapping[str, Any]],
) -> tuple[CatalogColumns, bytes, NDArray[np.int64]]:
    """Columns, JSON lines and line offsets int64 [n + 1] of rows of the lake's items table.

    items: in row order, keyed as `schema.ITEM_COLUMNS`; missing keys, None and a NaN
    price are unknown.
    Raises DataError, naming the item, for attributes that are no JSON object.
    """
    paths = [_levels(item.get("category_path")) for item in items]
    shown = [path[:CATEGORY_LEVELS] for path in paths]
    prefixes = {path[: i + 1] for path in set(shown) for i in range(len(path))}
    # Sorted as text, so that equal catalogs give equal codes.
    categories, code_of_category = _vocabulary({CATEGORY_SEPARATOR.join(p): p for p in prefixes})
    codes_of_path = {
        path: [
            code_of_category[path[: i + 1]] if i < len(path) else -1 for i in range(CATEGORY_LEVELS)
        ]
        for path in set(shown)
    }
    lines = [
        orjson.dumps(_shown_fields(item, path), option=orjson.OPT_SERIALIZE_NUMPY)
        for item, path in zip(items, paths, strict=True)
    ]
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum([len(line) + 1 for line in lines], out=offsets[1:])
    columns = CatalogColumns(
        price=np.array([_price(item) for item in items], np.float32),
        available=np.array([_available(item) for item in items], np.bool_),
        category=np.array([codes_of_path[path] for path in shown], np.int32).reshape(-1, 3),
        categories=categories,
        facets={field: _facet([item.get(field) or None for item in items]) for field in FACETS},
    )
    return columns, b"\n".join(lines) + b"\n", offsets


def narrowest_category(category: NDArray[np.int32]) -> NDArray[np.int32]:
    """The code of each item's last level, from codes per level int32 [n, levels]; -1: none."""
    narrowest = category[:, 0]
    for level in category.T[1:]:
        narrowest = np.where(level >= 0, level, narrowest)
    return narrowest


def _levels(category_path: str | None) -> tuple[str, ...]:
    parts = (category_path or "").split(CATEGORY_SEPARATOR.strip())
    return tuple(level for part in parts if (level := part.strip()))


def _vocabulary(key_of_name: Mapping[str, _Key]) -> tuple[list[str], dict[_Key, int]]:
    """Names in sorted order, and the code of each name's key."""
    names = sorted(key_of_name)
    return names, {key_of_name[name]: code for code, name in enumerate(names)}


def _facet(name_of: Sequence[str | None]) -> Facet:
    """From the name of each item, None for none."""
    names, code_of = _vocabulary({name: name for name in name_of if name is not None})
    codes = [-1 if name is None else code_of[name] for name in name_of]
    return Facet(np.array(codes, np.int32), names)


def _price(item: Mapping[str, Any]) -> float:
    """The price, NaN where it is unknown or infinite."""
    price = item.get("price")
    return float(price) if price is not None and math.isfinite(price) else math.nan


def _available(item: Mapping[str, Any]) -> bool:
    """Whether the item can be had; one that does not say so can."""
    available = item.get("available")
    return available is None or bool(available)


def _shown_fields(item: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: value for name in ITEM_FIELDS if (value := item.get(name))}
    fields["available"] = _available(item)
    fields["category_path"] = path
    fields["price"] = _price(item)
    if math.isnan(fields["price"]):
        del fields["price"]
    if attributes := fields.get("attributes"):
        fields["attributes"] = _attributes(item["item_id"], attributes)
    return fields


def _attributes(item_id: str, text: str) -> dict[str, Any]:
    try:
        attributes = orjson.loads(text)
    except orjson.JSONDecodeError:
        attributes = None
    if not isinstance(attributes, dict):
        raise DataError(
            f"Item '{item_id}': attributes must be a JSON object, found {text[:80]!r}. Correct "
            f"the items table and ingest it again."
        )
    return attributes
