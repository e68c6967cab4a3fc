"""The item tower of a bundle without the training stack: what an item is → its vector.

For items that the bundle lacks: nobody has met them yet, so their content is all there is to go by
(`ItemTower.as_new`). Training compares the two before anything is published.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle import bundle as layout
from vitrina.bundle.arrays import map_arrays
from vitrina.content import Bags, Codes, ContentColumns, ItemFeatures, Vocabularies, Words
from vitrina.errors import BundleError
from vitrina.space import FloatMatrix, normalise

log = logging.getLogger(__name__)

_erf = np.frompyfunc(math.erf, 1, 1)


class ItemEncoder:
    """Vectors of items by their content alone. Its tables stay in the file and are mapped."""

    def __init__(self, vocabularies: Vocabularies, weights: Mapping[str, NDArray[Any]]) -> None:
        """weights: of `towers.item_tower.ItemTower`, by its names. Raises KeyError if one lacks."""
        self._codes = Codes(vocabularies)
        fields = len(vocabularies.fields) + 1  # price buckets have no vocabulary
        self._fields = [weights[f"content.fields.{number}.weight"] for number in range(fields)]
        self._ngrams = weights.get("content.text.table.weight")
        if self._ngrams is None:
            self._words, self._rarity = (
                weights["content.text_words"],
                weights["content.text_rarity"],
            )
            self._from_text = weights["content.from_text.weight"]
        self._attributes = weights.get("content.attributes.table.weight")
        hidden, self._out = weights["mix.0.weight"], weights["mix.2.weight"]
        bias, self._direct = weights["mix.0.bias"], weights["mix.2.bias"]
        # Content, popularity, id: of a new item, the second is what is usual, the third nothing.
        popularity = (weights["usual_popularity"] - 1) / 2
        end = hidden.shape[1] - weights["id_table"].shape[1]
        content = end - len(popularity)
        self._hidden, self._bias = hidden[:, :content], bias + hidden[:, content:end] @ popularity
        if len(popularity):
            more = weights["from_popularity.weight"] @ popularity + weights["from_popularity.bias"]
            self._direct = self._direct + more

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """That of the bundle in `folder`; None if it was made by a Vitrina that did not know how.

        Says so in the log. Raises BundleError for a file that cannot be read.
        """
        try:
            about = orjson.loads((folder / layout.TOWERS).read_bytes())
            if about["format"] != layout.TOWERS_FORMAT:
                raise KeyError(f"format {layout.TOWERS_FORMAT}")
            attributes = [(name, value) for name, value in about["attributes"]]
            vocabularies = Vocabularies(about["fields"], attributes)
            return cls(vocabularies, map_arrays(folder / layout.ITEM_TOWER))
        except (FileNotFoundError, KeyError) as missing:
            log.warning(
                "Items that %s lacks are not shown: it has no %s. Train and publish a bundle with "
                "this version.",
                folder,
                missing,
            )
            return None
        except (orjson.JSONDecodeError, TypeError) as error:
            raise BundleError(f"{folder / layout.TOWERS} cannot be used: {error}.") from error

    def __call__(self, items: ContentColumns) -> FloatMatrix:
        """The unit vectors [n, dim] of n items that nobody has met."""
        features = ItemFeatures.by(self._codes, items)
        parts = [
            table[codes] for table, codes in zip(self._fields, features.categorical.T, strict=True)
        ]
        vectors = self._direct
        if self._ngrams is not None:
            parts.append(_mean(self._ngrams, features.text))
        else:
            words = Words.of(items)
            weighted = self._words[words.bags.codes] * words.tf_idf(self._rarity)[:, None]
            parts.append(words.bags.sums(weighted))
            vectors = vectors + parts[-1] @ self._from_text.T
        if self._attributes is not None:
            parts.append(_mean(self._attributes, features.attributes))
            vectors = vectors + parts[-1]
        hidden = _gelu(np.concatenate(parts, axis=1) @ self._hidden.T + self._bias)
        return normalise(vectors + hidden @ self._out.T)


def _mean(table: NDArray[np.float32], bags: Bags) -> NDArray[np.float32]:
    """The mean row of each item's codes [n, width]; zero for an item without any."""
    lengths = np.maximum(np.diff(bags.offsets), 1).astype(np.float32)
    return bags.sums(table[bags.codes]) / lengths[:, None]


def _gelu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """x · Φ(x) (Hendrycks and Gimpel, 2016), exactly as PyTorch has it by default."""
    cumulative = 0.5 + 0.5 * np.asarray(_erf(values / math.sqrt(2)), np.float32)
    return np.asarray(values * cumulative, np.float32)
