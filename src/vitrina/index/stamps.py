"""What every store says of a collection, whatever store it is: its name, its space, its columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import orjson

from vitrina.errors import SourceError
from vitrina.filters import Available, Filters, NamedField, PriceBetween, Term, terms, unknown_field
from vitrina.index.base import Found, RowArray
from vitrina.space import EmbeddingSpace, FloatMatrix, require_same_space

NAME_LENGTH: Final = 48
"""PostgreSQL cuts names at 63 characters; those of indexes take some for themselves."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a collection says of itself, in a place of the store that goes where it goes.

    fields: what its items have columns of, beside item_id, price and available; complete: it has
    been sealed.
    """

    space: EmbeddingSpace
    fields: tuple[NamedField, ...] = ()
    complete: bool = False

    def to_json(self) -> str:
        """One line."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str | None, name: str) -> Self:
        """Raises SourceError if it is not a stamp. name: of the collection, for the error."""
        try:
            found = orjson.loads(text or "")
            space = EmbeddingSpace(**found["space"])
            return cls(space, tuple(found["fields"]), bool(found["complete"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise SourceError(
                f"{name} does not say which space its vectors are of, so Vitrina did not write it. "
                f"Remove it, or name another place."
            ) from None

    def require(self, space: EmbeddingSpace, name: str, *, complete: bool) -> None:
        """Raises SpaceMismatch if it is of another space, SourceError if it is not complete."""
        require_same_space(self.space, space, name, "bundle")
        if complete and not self.complete:
            raise SourceError(f"{name} is not complete; copy the rest and seal it.")

    def sealed(self) -> Self:
        return replace(self, complete=True)

    def with_fields(self, fields: Iterable[NamedField]) -> Self:
        return replace(self, fields=tuple(sorted({*self.fields, *fields})))


def absent(name: str) -> SourceError:
    """The error of attaching to what is not there."""
    return SourceError(f"{name} does not exist; copy the items of this space there first.")


def collection_name(space: EmbeddingSpace) -> str:
    """The space's version, as every store takes it for a name: small letters, digits, `_`.

    Two versions that become one name are told apart by the stamp.
    """
    version = re.sub(r"\W", "_", space.version.lower(), flags=re.ASCII)
    return f"vitrina_{version}"[:NAME_LENGTH]


def known_terms(filters: Filters, fields: Iterable[NamedField]) -> tuple[Term, ...]:
    """What an item has to be. Raises DataError for a field that the items have no column of."""
    known = ("item_id", *fields)
    asked = terms(filters)
    for term in asked:
        if not isinstance(term, Available | PriceBetween) and term.field not in known:
            raise unknown_field(term.field, known)
    return asked


def nothing_found(queries: int, k: int) -> Found:
    """Scores of −inf and rows of −1, to be written over by what is found."""
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64)


def put(found: Found, query: int, scores: FloatMatrix, rows: RowArray) -> None:
    """Write what was found for one query, highest first: scores and rows [m], m at most k."""
    order = np.argsort(-scores, kind="stable")
    found[0][query, : len(rows)], found[1][query, : len(rows)] = scores[order], rows[order]
