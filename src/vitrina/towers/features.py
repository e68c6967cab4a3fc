"""What the item tower sees of an item.

Content (category levels, brand, price, condition, location, attributes, text) never changes within
a run.
Popularity does, and is always asked for as of a moment: only events strictly earlier count.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.encoding import SECONDS_PER_DAY
from vitrina.lake.catalog import CatalogTable
from vitrina.lake.sequences import Interactions
from vitrina.schema import CATEGORY_SEPARATOR

CATEGORY_LEVELS: Final = 3
TEXT_BUCKETS: Final = 1 << 15
MAX_NGRAMS: Final = 32
PRICE_BUCKETS_PER_DOUBLING: Final = 3
PRICE_BUCKETS: Final = 48
UNKNOWN: Final = 0
"""Code of a missing or never-seen value in every vocabulary."""

POPULARITY_WINDOWS_DAYS: Final = (7, 28, 91, 364)
NEWCOMER_WINDOWS_DAYS: Final = (28, 364)
FOUR_WEEKS: Final = POPULARITY_WINDOWS_DAYS.index(28)
"""Column of the popularity features that stands for what is popular now."""
POPULARITY_FEATURES: Final = len(POPULARITY_WINDOWS_DAYS) + len(NEWCOMER_WINDOWS_DAYS)

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Bags:
    """Several codes an item, for n items: those of item i are codes[offsets[i]:offsets[i + 1]].

    codes int64 [m], each below `cardinality`; offsets int64 [n + 1].
    """

    codes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    cardinality: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], cardinality: int) -> Self:
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(codes) for codes in rows], out=offsets[1:])
        codes = np.fromiter((code for row in rows for code in row), np.int64, offsets[-1])
        return cls(codes, offsets, cardinality)


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """What codes stand for. fields: code c of the i-th field is fields[i][c − 1], 0 is unknown.

    attributes: code c is attributes[c], a name and a value. Price buckets and n-grams need none:
    their codes mean the same in every catalog.
    """

    fields: list[list[str]]
    attributes: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """Content of n items as numbers.

    categorical int64 [n, fields]: a code per field, 0 where unknown; cardinalities [fields].
    text: hashed n-grams of title and description. attributes: a code for each `name = value`.
    """

    categorical: NDArray[np.int64]
    cardinalities: tuple[int, ...]
    text: Bags
    attributes: Bags
    vocabularies: Vocabularies

    def __len__(self) -> int:
        return len(self.categorical)

    @classmethod
    def from_catalog(cls, catalog: CatalogTable) -> Self:
        """Vocabularies are made from the catalog itself: codes by sorted value, 0 for none."""
        paths = [_path_prefixes(path) for path in catalog.category_path]
        levels = [_codes([path[level] for path in paths]) for level in range(CATEGORY_LEVELS)]
        fields = [
            *levels,
            _codes(catalog.brand),
            _codes(catalog.condition),
            _codes(catalog.location),
        ]
        prices = price_buckets(catalog.price)
        attributes, pairs = attribute_codes(catalog.attributes)
        texts = zip(catalog.title, catalog.description, strict=True)
        hashed = [text_ngrams(f"{title} {description}") for title, description in texts]
        return cls(
            categorical=np.stack([*(codes for codes, _ in fields), prices], axis=1),
            cardinalities=(*(len(values) + 1 for _, values in fields), PRICE_BUCKETS),
            text=Bags.of(hashed, TEXT_BUCKETS),
            attributes=attributes,
            vocabularies=Vocabularies([values for _, values in fields], pairs),
        )


def attribute_codes(
    attributes: Sequence[Mapping[str, Any]],
) -> tuple[Bags, list[tuple[str, str]]]:
    """A code for each value of each attribute that several items have, in the order of the names.

    The elements of a list are values, one by one; objects within are none. What one item alone has
    tells nothing of any other, and its id says as much. Returns the items' codes, and what they
    stand for.
    """
    pairs = [
        sorted({(name, str(one)) for name, value in row.items() for one in _elements(value)})
        for row in attributes
    ]
    counts = Counter(pair for row in pairs for pair in row)
    shared = sorted(pair for pair, items in counts.items() if items > 1)
    code = {pair: number for number, pair in enumerate(shared)}
    codes = [[code[pair] for pair in row if pair in code] for row in pairs]
    return Bags.of(codes, len(shared)), shared


def _elements(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return [element for element in value if not isinstance(element, dict | list)]
    return [] if value is None or isinstance(value, dict) else [value]


def text_ngrams(text: str) -> list[int]:
    """Hashed words, then hashed character trigrams of the words, at most MAX_NGRAMS.

    Words first: where a long text does not fit, its words matter more than its spelling.
    Source: Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL 2017.
    """
    words = words_of(text)[:MAX_NGRAMS]
    trigrams = [f"<{word}>"[i : i + 3] for word in words for i in range(len(word))]
    return [bucket_of(ngram) for ngram in [*words, *trigrams][:MAX_NGRAMS]]


def price_buckets(price: NDArray[np.float32]) -> NDArray[np.int64]:
    """Logarithmic price buckets int64 [n], three to a doubling, 0 where the price is unknown."""
    steps = np.log2(np.maximum(price, 1e-2)) * PRICE_BUCKETS_PER_DOUBLING
    buckets = np.clip(np.nan_to_num(steps) + PRICE_BUCKETS / 2, 1, PRICE_BUCKETS - 1)
    return np.where(np.isnan(price), UNKNOWN, buckets).astype(np.int64)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def bucket_of(ngram: str) -> int:
    """Hash of a word or of a part of one, below TEXT_BUCKETS."""
    return zlib.crc32(ngram.encode()) % TEXT_BUCKETS


def _path_prefixes(path: Sequence[str]) -> list[str | None]:
    """`[A, B]` → `[A, A > B, None]`: a level's name means little without those above it."""
    prefixes: list[str | None] = [
        CATEGORY_SEPARATOR.join(path[: level + 1]) for level in range(len(path))
    ]
    return (prefixes + [None] * CATEGORY_LEVELS)[:CATEGORY_LEVELS]


def _codes(column: Sequence[str | None]) -> tuple[NDArray[np.int64], list[str]]:
    """Codes from 1 for the distinct values, 0 for None and "", and the values in their order."""
    values = sorted({value for value in column if value})
    code = {value: number for number, value in enumerate(values, 1)}
    return np.array([code.get(value or "", UNKNOWN) for value in column], np.int64), values


class PopularityFeatures:
    """How much an item is wanted, as of a moment.

    For each window of days before the moment: ln(1 + the item's share of the window's events, in
    1 / 100,000), counted once over all events and once over first events of (shopper, item)
    pairs alone, which tell how many newcomers an item wins.
    """

    def __init__(self, interactions: Interactions, items: int) -> None:
        self._items = items
        by_time = np.argsort(interactions.timestamp_us, kind="stable")
        self._moments = interactions.timestamp_us[by_time]
        self._rows = interactions.row[by_time]
        self._first = first_of_pair(interactions, items)[by_time]

    def at(self, moment_us: int) -> NDArray[np.float32]:
        """Features float32 [items, POPULARITY_FEATURES] from events before `moment_us` only."""
        windows = [(days, False) for days in POPULARITY_WINDOWS_DAYS]
        windows += [(days, True) for days in NEWCOMER_WINDOWS_DAYS]
        return np.stack([self._share(moment_us, *window) for window in windows], axis=1)

    def _share(self, moment_us: int, days: int, newcomers: bool) -> NDArray[np.float32]:
        start = moment_us - int(days * SECONDS_PER_DAY * 1e6)
        low, high = np.searchsorted(self._moments, [start, moment_us], side="left")
        rows = self._rows[low:high]
        if newcomers:
            rows = rows[self._first[low:high]]
        counts = np.bincount(rows, minlength=self._items)
        share: NDArray[np.float32] = np.log1p(counts * (1e5 / max(len(rows), 1))).astype(np.float32)
        return share


def first_of_pair(interactions: Interactions, items: int) -> NDArray[np.bool_]:
    """True [n] where an event is the first of its shopper with its item."""
    pair = interactions.user.astype(np.int64) * items + interactions.row
    first = np.zeros(len(pair), np.bool_)
    first[np.unique(pair, return_index=True)[1]] = True
    return first
