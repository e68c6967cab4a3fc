"""Items as a shop sends them, one by one, in the forms that a bundle's catalog keeps them in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitrina.bundle.catalog import CATEGORY_LEVELS, ITEM_FIELDS
from vitrina.schema import CATEGORY_SEPARATOR

NONE: Final = -1
"""The code of no name."""


def shown_fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item's JSON object: its fields in their order, without those that have no value."""
    fields = {name: item[name] for name in ITEM_FIELDS if item.get(name) not in (None, "", {})}
    return fields | {
        "available": item.get("available") is not False,
        "category_path": item.get("category_path") or [],
    }


def prices(items: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """Of each item, NaN where unknown."""
    return np.array([item.get("price", math.nan) for item in items], np.float32)


class Names:
    """A vocabulary that new names are added to; codes given before stay what they are."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._new: list[str] = []
        self._codes: dict[str, int] | None = None

    @property
    def names(self) -> list[str]:
        return [*self._names, *self._new] if self._new else self._names

    def code(self, name: str | None) -> int:
        """That of a name, a new one if need be; NONE for none."""
        if not name:
            return NONE
        if self._codes is None:  # large vocabularies are not read for a change of prices
            self._codes = {known: code for code, known in enumerate(self._names)}
        if name not in self._codes:
            self._codes[name] = len(self._codes)
            self._new.append(name)
        return self._codes[name]

    def levels(self, path: Sequence[str]) -> list[int]:
        """The code of each level's full path [CATEGORY_LEVELS], of a vocabulary of categories."""
        shown = path[:CATEGORY_LEVELS]
        codes = [
            self.code(CATEGORY_SEPARATOR.join(shown[: level + 1])) for level in range(len(shown))
        ]
        return codes + [NONE] * (CATEGORY_LEVELS - len(codes))
