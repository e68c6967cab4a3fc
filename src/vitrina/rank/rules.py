"""Filters a request may set, compiled to one mask over the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitrina.schema import CATEGORY_SEPARATOR


@dataclass(frozen=True, slots=True)
class Filters:
    """What may be shown. Within a field any value will do; all fields have to pass.

    categories: category paths, each standing for its whole subtree. brands, conditions, locations:
    whole names, in any case. Items without a price pass no price bound.
    """

    categories: Sequence[str] = ()
    brands: Sequence[str] = ()
    conditions: Sequence[str] = ()
    locations: Sequence[str] = ()
    min_price: float | None = None
    max_price: float | None = None
    available_only: bool = True


@dataclass(frozen=True)
class Facet:
    """A field of which an item has one name at most.

    codes int32 [n]: each item's place in `names`, -1 for none.
    """

    codes: NDArray[np.int32]
    names: list[str]

    def having(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Mask [n] of the items that have one of these names."""
        wanted = np.zeros(len(self.names) + 1, np.bool_)  # the last is where code -1 looks
        wanted[[code for name in names for code in self._codes_of.get(name.casefold(), ())]] = True
        return wanted[self.codes]

    @cached_property
    def _codes_of(self) -> Mapping[str, list[int]]:
        """By name, whatever its case."""
        codes: dict[str, list[int]] = {}
        for code, name in enumerate(self.names):
            codes.setdefault(name.casefold(), []).append(code)
        return codes


class FilterColumns(Protocol):
    """The catalog as filters see it (`bundle.catalog.CatalogColumns` and `Catalog` fit)."""

    @property
    def price(self) -> NDArray[np.float32]:
        """[n], NaN where unknown."""

    @property
    def available(self) -> NDArray[np.bool_]:
        """[n]."""

    @property
    def category(self) -> NDArray[np.int32]:
        """[n, levels]: codes into `categories`, -1 for none."""

    @property
    def categories(self) -> Sequence[str]:
        """Full category paths of all levels, in one code space."""

    @property
    def facets(self) -> Mapping[str, Facet]:
        """`brand`, `condition` and `location`."""


def compile_filter(filters: Filters, columns: FilterColumns) -> NDArray[np.bool_] | None:
    """Mask [n] of the items that pass, or None when every item does."""
    mask: NDArray[np.bool_] | None = None

    def require(condition: NDArray[np.bool_]) -> None:
        nonlocal mask
        mask = condition if mask is None else mask & condition

    if filters.available_only and not columns.available.all():
        require(columns.available)
    if filters.categories:
        codes = _codes([_canonical_path(path) for path in filters.categories], columns.categories)
        require(np.asarray(np.isin(columns.category, codes).any(axis=1)))
    for field, names in (
        ("brand", filters.brands),
        ("condition", filters.conditions),
        ("location", filters.locations),
    ):
        if names:
            require(columns.facets[field].having(names))
    if filters.min_price is not None:
        require(columns.price >= filters.min_price)
    if filters.max_price is not None:
        require(columns.price <= filters.max_price)
    return mask


def _codes(names: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Codes of the names the vocabulary holds, ignoring case."""
    wanted = {name.casefold() for name in names}
    return np.array(
        [code for code, name in enumerate(vocabulary) if name.casefold() in wanted], np.int32
    )


def _canonical_path(path: str) -> str:
    """`a>b > c` → `a > b > c`, so that spacing does not decide what matches."""
    return CATEGORY_SEPARATOR.join(
        level.strip() for level in path.split(CATEGORY_SEPARATOR.strip())
    )
