"""Many requests at once: encoder and index are asked once for all of them.

What they said is remembered by what they were asked, and each request then goes its ordinary way.
So nothing here can change an answer: whose history has grown meanwhile is asked for alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from vitrina.encoding import EncodedHistory
from vitrina.filters import EVERYTHING, Selection
from vitrina.index.base import Found, RowArray, Searcher
from vitrina.space import FloatMatrix, Vectors, require_same_space

ENCODED_AT_ONCE: Final = 64
"""Histories of like length in one run of the encoder, so that little of it is padding."""


VectorsOf = Callable[[RowArray], FloatMatrix]
"""Vectors [..., dim] of items, by rows int64 [...] (`Bundle.vectors_of`)."""


class Encoder(Protocol):
    """What turns histories into user vectors (`user_vector.OnnxEncoder` does)."""

    def __call__(self, history: EncodedHistory, vectors: FloatMatrix) -> FloatMatrix:
        """A history of L events with its item vectors [L, dim] → user vector [dim]."""
        ...

    def many(self, histories: Sequence[EncodedHistory], vectors_of: VectorsOf) -> FloatMatrix:
        """B histories of one event or more, with the vectors of items by rows → [B, dim]."""
        ...


class RememberedEncoder:
    """An encoder that knows the vectors of some histories already."""

    def __init__(
        self, encoder: Encoder, histories: Sequence[EncodedHistory], vectors_of: VectorsOf
    ) -> None:
        """Encodes the histories that have an event, in batches. Raises what the encoder does."""
        self._encoder = encoder
        self._vectors: dict[tuple[bytes, ...], FloatMatrix] = {}
        in_order = sorted((history for history in histories if len(history)), key=len)
        for start in range(0, len(in_order), ENCODED_AT_ONCE):
            together = in_order[start : start + ENCODED_AT_ONCE]
            vectors = encoder.many(together, vectors_of)
            self._vectors.update(zip(map(_content, together), vectors, strict=True))

    def __call__(self, history: EncodedHistory, vectors: FloatMatrix) -> FloatMatrix:
        known = self._vectors.get(_content(history))
        return self._encoder(history, vectors) if known is None else known

    def many(self, histories: Sequence[EncodedHistory], vectors_of: VectorsOf) -> FloatMatrix:
        return self._encoder.many(histories, vectors_of)


class RememberedSearches:
    """An index that knows the neighbours of some vectors already."""

    def __init__(self, index: Searcher, queries: Vectors, k: int, allowed: Selection) -> None:
        """Searches for all queries at once. Raises what the index does."""
        self._index = index
        self._allowed = allowed
        self._k = k
        self.space = index.space
        scores, rows = index.search(queries, k, allowed)
        self._found = {
            query.tobytes(): (scores[place], rows[place])
            for place, query in enumerate(queries.values)
        }

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """As `Searcher.search`; for fewer neighbours than remembered, the first of them."""
        require_same_space(queries.space, self.space, "query", "index")
        if k <= self._k and allowed is self._allowed and len(queries) == 1:
            found = self._found.get(queries.values[0].tobytes())
            if found is not None:
                return found[0][None, :k], found[1][None, :k]
        return self._index.search(queries, k, allowed)


def _content(history: EncodedHistory) -> tuple[bytes, ...]:
    return history.rows.tobytes(), history.event_types.tobytes(), history.days.tobytes()
