"""What an item is, as the numbers that the item tower reads. NumPy only.

The one piece of code that training and the request path share for it, as `encoding` is for
histories: an item that a shop adds between two trainings is seen as the next one will see it.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vitrina.schema import CATEGORY_SEPARATOR

CATEGORY_LEVELS: Final = 3
TEXT_BUCKETS: Final = 1 << 15
MAX_NGRAMS: Final = 32
MAX_WORDS: Final = 500
"""Of a text, the first: beyond them descriptions repeat themselves."""
PRICE_BUCKETS_PER_DOUBLING: Final = 3
PRICE_BUCKETS: Final = 48
UNKNOWN: Final = 0
"""Code of a missing or never-seen value in every vocabulary."""

_WORD = re.compile(r"[^\W_]+")


class ContentColumns(Protocol):
    """What is known of n items, one sequence a column (`lake.catalog.CatalogTable` fits).

    title, description: "" where unknown. category_path: levels, broadest first. price float32
    [n], NaN where unknown. attributes: JSON objects.
    """

    @property
    def title(self) -> Sequence[str]: ...
    @property
    def description(self) -> Sequence[str]: ...
    @property
    def category_path(self) -> Sequence[Sequence[str]]: ...
    @property
    def price(self) -> NDArray[np.float32]: ...
    @property
    def brand(self) -> Sequence[str | None]: ...
    @property
    def location(self) -> Sequence[str | None]: ...
    @property
    def condition(self) -> Sequence[str | None]: ...
    @property
    def attributes(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class ItemContent:
    """`ContentColumns` of items that come one by one."""

    title: Sequence[str]
    description: Sequence[str]
    category_path: Sequence[Sequence[str]]
    price: NDArray[np.float32]
    brand: Sequence[str | None]
    location: Sequence[str | None]
    condition: Sequence[str | None]
    attributes: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Any]]) -> Self:
        """Of JSON objects with the fields of `schema.Item`; those missing or null are unknown."""
        prices = [item.get("price") for item in items]
        return cls(
            title=[item.get("title") or "" for item in items],
            description=[item.get("description") or "" for item in items],
            category_path=[item.get("category_path") or () for item in items],
            price=np.array([np.nan if price is None else price for price in prices], np.float32),
            brand=[item.get("brand") for item in items],
            location=[item.get("location") for item in items],
            condition=[item.get("condition") for item in items],
            attributes=[item.get("attributes") or {} for item in items],
        )


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

    def sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum of each item's values: [m, …], one a code, → [n, …]; zero for an empty bag."""
        sums = np.zeros((len(self.offsets) - 1, *values.shape[1:]), np.float32)
        filled = np.flatnonzero(np.diff(self.offsets))
        if len(filled):
            sums[filled] = np.add.reduceat(values, self.offsets[filled], axis=0)
        return sums


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """What codes stand for. fields: code c of the i-th field is fields[i][c − 1], 0 is unknown.

    attributes: code c is attributes[c], a name and a value. Price buckets and n-grams need none:
    their codes mean the same in every catalog.
    """

    fields: list[list[str]]
    attributes: list[tuple[str, str]]

    @classmethod
    def of(cls, items: ContentColumns) -> Self:
        """Of a catalog: its values in sorted order, and what several items have for attributes.

        What one item alone has tells nothing of any other, and its id says as much.
        """
        counts = Counter(pair for row in items.attributes for pair in _pairs(row))
        return cls(
            [sorted({value for value in column if value}) for column in _fields(items)],
            sorted(pair for pair, count in counts.items() if count > 1),
        )


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
    def from_catalog(cls, catalog: ContentColumns) -> Self:
        """Features by vocabularies that are made from the catalog itself."""
        return cls.by(Codes(Vocabularies.of(catalog)), catalog)

    @classmethod
    def by(cls, codes: Codes, items: ContentColumns) -> Self:
        """Features by given vocabularies; values that they lack are unknown."""
        fields = [
            np.array([code.get(value or "", UNKNOWN) for value in column], np.int64)
            for code, column in zip(codes.fields, _fields(items), strict=True)
        ]
        attributes = [
            [codes.attributes[pair] for pair in _pairs(row) if pair in codes.attributes]
            for row in items.attributes
        ]
        texts = zip(items.title, items.description, strict=True)
        hashed = [text_ngrams(f"{title} {description}") for title, description in texts]
        return cls(
            categorical=np.stack([*fields, price_buckets(items.price)], axis=1),
            cardinalities=(*(len(code) + 1 for code in codes.fields), PRICE_BUCKETS),
            text=Bags.of(hashed, TEXT_BUCKETS),
            attributes=Bags.of(attributes, len(codes.attributes)),
            vocabularies=codes.vocabularies,
        )


class Codes:
    """Vocabularies the other way round: the code of each value."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        self.vocabularies = vocabularies
        self.fields = [
            {value: code for code, value in enumerate(values, 1)} for values in vocabularies.fields
        ]
        self.attributes = {pair: code for code, pair in enumerate(vocabularies.attributes)}


@dataclass(frozen=True, slots=True)
class Words:
    """Hashed words of n texts, each once, and how often each text has them.

    counts float32 [m]: of `bags.codes`.
    """

    bags: Bags
    counts: NDArray[np.float32]

    @classmethod
    def of(cls, items: ContentColumns) -> Self:
        """Of titles, brands and descriptions.

        What the title says, it says twice: it is the better part of a text.
        """
        rows = zip(items.title, items.brand, items.description, strict=True)
        return cls.of_texts(
            [f"{title} {brand or ''} {title} {text}" for title, brand, text in rows]
        )

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Self:
        counted = [Counter(map(bucket_of, words_of(text)[:MAX_WORDS])) for text in texts]
        bags = Bags.of([list(counts) for counts in counted], TEXT_BUCKETS)
        values = (count for counts in counted for count in counts.values())
        return cls(bags, np.fromiter(values, np.float32, len(bags.codes)))

    def rarity(self) -> NDArray[np.float32]:
        """ln((1 + n) / (1 + texts with it)) of every hashed word, float32 [TEXT_BUCKETS].

        0 for words of one text alone: they are like no others.
        """
        texts = len(self.bags.offsets) - 1
        spread = np.bincount(self.bags.codes, minlength=TEXT_BUCKETS)
        rarity = np.where(spread > 1, np.log((1 + texts) / (1 + spread)), 0.0)
        return np.asarray(rarity, np.float32)

    def tf_idf(self, rarity: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1 + ln count) · rarity, float32 [m], those of each text of length 1 together."""
        weights = (1 + np.log(self.counts)) * rarity[self.bags.codes]
        length = np.sqrt(self.bags.sums(weights**2))
        each = np.repeat(length, np.diff(self.bags.offsets))
        scaled: NDArray[np.float32] = (weights / np.maximum(each, 1e-9)).astype(np.float32)
        return scaled


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


def _fields(items: ContentColumns) -> list[Sequence[str | None]]:
    """The columns that have a vocabulary each: category levels, brand, condition, location."""
    paths = [_path_prefixes(path) for path in items.category_path]
    levels = [[path[level] for path in paths] for level in range(CATEGORY_LEVELS)]
    return [*levels, items.brand, items.condition, items.location]


def _path_prefixes(path: Sequence[str]) -> list[str | None]:
    """`[A, B]` → `[A, A > B, None]`: a level's name means little without those above it."""
    prefixes: list[str | None] = [
        CATEGORY_SEPARATOR.join(path[: level + 1]) for level in range(CATEGORY_LEVELS)
    ]
    return prefixes[: len(path)] + [None] * (CATEGORY_LEVELS - len(path))


def _pairs(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, sorted, each once.

    The elements of a list are values, one by one; objects within are none.
    """
    return sorted(
        {(name, str(one)) for name, value in attributes.items() for one in _elements(value)}
    )


def _elements(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return [element for element in value if not isinstance(element, dict | list)]
    return [] if value is None or isinstance(value, dict) else [value]
