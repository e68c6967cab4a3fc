"""What may be shown: filters as a shop asks for them, as terms for stores, as masks for memory.

What a filter means is decided here alone, in `terms`. A store in another process gets the terms,
in its own language; an index in this process gets one mask over the catalog; both see the same
items pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.schema import CATEGORY_SEPARATOR

NamedField = Literal["item_id", "category", "brand", "condition", "location", "tag"]
"""What items are told apart by, in names. An item has one id, brand, condition and location at
most, a category for each level of its path (`A`, `A > B`), and any number of tags."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What may be shown. Within a field any value will do; all fields have to pass.

    categories: category paths, each standing for its whole subtree. Items without a price pass
    no price bound. allow: ids of the only items that may be shown (none of them, if it is empty;
    None: every item may); deny: ids of items that may not. Names pass whatever their case, ids as
    they are written. Raises DataError for a price bound that is NaN.
    """

    categories: Sequence[str] = ()
    brands: Sequence[str] = ()
    conditions: Sequence[str] = ()
    locations: Sequence[str] = ()
    min_price: float | None = None
    max_price: float | None = None
    available_only: bool = True
    tags: Sequence[str] = ()
    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and math.isnan(value):
                raise DataError(f"The filter's {field.name} is NaN; a bound is a number.")
            if not isinstance(value, (tuple, float, int, type(None))):
                object.__setattr__(self, field.name, tuple(value))  # so that it cannot change


NO_FILTERS: Final = Filters()
"""Everything that can be had."""


@dataclass(frozen=True, slots=True)
class Among:
    """One of the item's values of `field` is one of `values`; none passes where there are none."""

    field: NamedField
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotAmong:
    """None of the item's values of `field` is one of `values`; an item without any passes."""

    field: NamedField
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriceBetween:
    """The price is known, low or more, high or less; None: no bound."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Available:
    """The item can be had."""


Term = Among | NotAmong | PriceBetween | Available


def terms(filters: Filters) -> tuple[Term, ...]:
    """What an item has to be, all of it, to pass. No terms: every item passes.

    Names are as stores hold them (`ItemAttributes.documents`), prices rounded to float32, as
    columns hold them.
    """
    found: list[Term] = [Available()] if filters.available_only else []
    named: dict[NamedField, Sequence[str]] = {
        "category": filters.categories,
        "brand": filters.brands,
        "condition": filters.conditions,
        "location": filters.locations,
        "tag": filters.tags,
    }
    for field, names in named.items():
        if names:
            found.append(Among(field, tuple(_asked_name(field, name) for name in names)))
    if filters.min_price is not None or filters.max_price is not None:
        found.append(PriceBetween(_float32(filters.min_price), _float32(filters.max_price)))
    if filters.allow is not None:
        found.append(Among("item_id", tuple(filters.allow)))
    if filters.deny:
        found.append(NotAmong("item_id", tuple(filters.deny)))
    return tuple(found)


@dataclass(frozen=True)
class Facet:
    """What items are called in one field.

    codes int32 [n], or [n, m] where an item has several: places in `names`, -1 for none.
    """

    codes: NDArray[np.int32]
    names: list[str]

    def having(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Mask [n] of the items that have one of these names, in whatever case they are stored."""
        wanted = np.zeros(len(self.names) + 1, np.bool_)  # the last is where code -1 looks
        wanted[[code for name in names for code in self._codes_of.get(name, ())]] = True
        having = wanted[self.codes]
        return having if having.ndim == 1 else np.asarray(having.any(axis=1))

    @cached_property
    def _codes_of(self) -> Mapping[str, list[int]]:
        """By name, in the form that terms have."""
        codes: dict[str, list[int]] = {}
        for code, name in enumerate(self.names):
            codes.setdefault(name.casefold(), []).append(code)
        return codes


class FilterColumns(Protocol):
    """Items as filters see them (`bundle.catalog.Catalog` and `ItemAttributes` fit)."""

    @property
    def price(self) -> NDArray[np.float32]:
        """[n], NaN where unknown."""

    @property
    def available(self) -> NDArray[np.bool_]:
        """[n]."""

    def having(self, field: NamedField, names: Sequence[str]) -> NDArray[np.bool_]:
        """Mask [n] of the items that have one of these names, in the form that terms have.

        Raises DataError for a field that these items have no column of.
        """
        ...


@dataclass(frozen=True)
class ItemAttributes:
    """What a store keeps of n items beside their vectors, so that it can filter by itself.

    price float32 [n], NaN where unknown; available bool [n]. A field without a facet is one that
    cannot be filtered by.
    """

    item_ids: Sequence[str]
    price: NDArray[np.float32]
    available: NDArray[np.bool_]
    facets: Mapping[NamedField, Facet]

    def __len__(self) -> int:
        return len(self.item_ids)

    def having(self, field: NamedField, names: Sequence[str]) -> NDArray[np.bool_]:
        """As `FilterColumns.having`."""
        if field == "item_id":
            having = np.zeros(len(self), np.bool_)
            having[[self._row_of[name] for name in names if name in self._row_of]] = True
            return having
        if field not in self.facets:
            raise unknown_field(field, ("item_id", *self.facets))
        return self.facets[field].having(names)

    def documents(self, rows: slice) -> list[dict[str, Any]]:
        """What a store holds of some items, one a row: names in the form that terms have.

        item_id; price (None: unknown); available; and each field that has a facet: a list of its
        values for category and tag, the value or None for the others.
        """
        columns: dict[str, list[Any]] = {
            "item_id": list(self.item_ids[rows]),
            "price": [None if math.isnan(price) else price for price in self.price[rows].tolist()],
            "available": self.available[rows].tolist(),
        }
        for field, facet in self.facets.items():
            several = facet.codes[rows].reshape(-1, math.prod(facet.codes.shape[1:])).tolist()
            names = [
                [facet.names[code].casefold() for code in item if code >= 0] for item in several
            ]
            lists = field in ("category", "tag")
            columns[field] = names if lists else [found[0] if found else None for found in names]
        items = zip(*columns.values(), strict=True)
        return [dict(zip(columns, item, strict=True)) for item in items]

    @cached_property
    def _row_of(self) -> Mapping[str, int]:
        return {item_id: row for row, item_id in enumerate(self.item_ids)}


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The items that may be found: what was asked for, and the mask over the catalog it makes.

    Stores in other processes read `filters`, indexes in this one `mask` bool [items] (None: every
    item passes).
    """

    filters: Filters
    mask: NDArray[np.bool_] | None


EVERYTHING: Final = Selection(Filters(available_only=False), None)
"""No filter at all."""


def select(filters: Filters, columns: FilterColumns) -> Selection:
    """The items that pass. Raises DataError for a field that they have no column of."""
    return Selection(filters, compile_filter(filters, columns))


def compile_filter(filters: Filters, columns: FilterColumns) -> NDArray[np.bool_] | None:
    """Mask [n] of the items that pass, or None when nothing is asked for that any item lacks."""
    mask: NDArray[np.bool_] | None = None
    for term in terms(filters):
        passing = _passing(term, columns)
        if passing is not None:
            mask = passing if mask is None else mask & passing
    return mask


def unknown_field(field: NamedField, known: Sequence[str]) -> DataError:
    """The error of a filter on a column that is not there."""
    return DataError(
        f"These items have no column '{field}' to filter by; they have {', '.join(sorted(known))}."
    )


def _passing(term: Term, columns: FilterColumns) -> NDArray[np.bool_] | None:
    match term:
        case Available():
            return None if columns.available.all() else columns.available
        case PriceBetween(low, high):
            above = columns.price >= (-np.inf if low is None else low)
            return above if high is None else above & (columns.price <= high)
        case Among(field, values):
            return columns.having(field, values)
        case NotAmong(field, values):
            return ~columns.having(field, values)


def _asked_name(field: NamedField, name: str) -> str:
    """A name as people write it, in the form that is compared: `Dairy>Milk` → `dairy > milk`."""
    if field == "category":
        levels = name.split(CATEGORY_SEPARATOR.strip())
        name = CATEGORY_SEPARATOR.join(level.strip() for level in levels)
    return name.casefold()


def _float32(price: float | None) -> float | None:
    return None if price is None else float(np.float32(price))
