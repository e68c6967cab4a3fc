"""What the item tower sees: content that is bounded, popularity that knows no future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from towers.taste_shop import DAY_US, START_US, as_interactions, taste_shop
from vitrina.content import (
    MAX_NGRAMS,
    PRICE_BUCKETS,
    TEXT_BUCKETS,
    ItemFeatures,
    price_buckets,
    text_ngrams,
)
from vitrina.lake.sequences import Interactions
from vitrina.towers.features import (
    NEWCOMER_WINDOWS_DAYS,
    POPULARITY_FEATURES,
    POPULARITY_WINDOWS_DAYS,
    PopularityFeatures,
    first_of_pair,
)

ITEMS, USERS = 6, 4

event = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, 1),
    st.integers(0, 60).map(lambda day: START_US + day * DAY_US),
)
events = st.lists(event, max_size=30)


def interactions(rows: list[tuple[int, int, int, int]]) -> Interactions:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return as_interactions(*columns, users=USERS)


@given(st.text(max_size=400))
def test_a_text_of_any_length_is_a_few_ngrams(text: str) -> None:
    ngrams = text_ngrams(text)
    assert len(ngrams) <= MAX_NGRAMS
    assert all(0 <= ngram < TEXT_BUCKETS for ngram in ngrams)


def test_words_come_before_their_spelling() -> None:
    words = "Soup, BREAD & milk"
    assert text_ngrams(words)[:3] == [text_ngrams(word)[0] for word in ("soup", "bread", "milk")]
    assert set(text_ngrams("soups")) & set(text_ngrams("soup")), "near words share trigrams"
    many = " ".join(f"word{number}" for number in range(100))
    assert text_ngrams(many) == [text_ngrams(word)[0] for word in many.split()[:MAX_NGRAMS]]


@given(st.lists(st.floats(0, 1e7, width=32), min_size=2, max_size=20))
def test_price_buckets_rise_with_the_price(prices: list[float]) -> None:
    buckets = price_buckets(np.sort(np.array(prices, np.float32)))
    assert (np.diff(buckets) >= 0).all()
    assert buckets.min() >= 1
    assert buckets.max() < PRICE_BUCKETS


def test_an_unknown_price_has_a_bucket_of_its_own() -> None:
    prices = np.array([np.nan, 0.0, 1.0, 2.0, np.inf], np.float32)
    unknown, free, one, two, endless = price_buckets(prices)
    assert unknown == 0
    assert 1 <= free < one
    assert two == one + 3
    assert endless == PRICE_BUCKETS - 1


def test_items_are_codes_below_their_cardinality_and_runs_of_ngrams() -> None:
    catalog = taste_shop().catalog
    catalog.title[3] = ""
    features = ItemFeatures.from_catalog(catalog)
    assert len(features) == len(catalog)
    assert (features.categorical >= 0).all()
    assert (features.categorical.max(0) < features.cardinalities).all()
    for row, title in enumerate(catalog.title):
        run = features.text.codes[features.text.offsets[row] : features.text.offsets[row + 1]]
        assert run.tolist() == text_ngrams(title)
    brand = features.categorical[:, 3]
    assert ((brand == 0) == [name is None for name in catalog.brand]).all()
    same_path = [path == catalog.category_path[0] for path in catalog.category_path]
    assert ((features.categorical[:, 1] == features.categorical[0, 1]) == same_path).all()


def test_a_level_of_one_name_under_two_departments_is_two_codes() -> None:
    catalog = taste_shop(items=8).catalog
    paths = [["FOOD", "OTHER"], ["TOYS", "OTHER"], ["TOYS"], [], *catalog.category_path[4:]]
    features = ItemFeatures.from_catalog(replace(catalog, category_path=paths))
    first, second = features.categorical[:4, 0], features.categorical[:4, 1]
    assert first[1] == first[2] != first[0]
    assert second[0] != second[1]
    assert (first[3], second[2], second[3]) == (0, 0, 0)


@given(events)
def test_the_first_event_of_a_pair_is_marked_once(rows: list[tuple[int, int, int, int]]) -> None:
    found = interactions(rows)
    met: set[tuple[int, int]] = set()
    for user, row, first in zip(found.user, found.row, first_of_pair(found, ITEMS), strict=True):
        assert first == ((user, row) not in met)
        met.add((user, row))


def brute_popularity(found: Interactions, moment: int) -> NDArray[np.float64]:
    first = first_of_pair(found, ITEMS)
    windows = [(days, False) for days in POPULARITY_WINDOWS_DAYS]
    windows += [(days, True) for days in NEWCOMER_WINDOWS_DAYS]
    features = np.zeros((ITEMS, len(windows)))
    for column, (days, newcomers) in enumerate(windows):
        counts = [0] * ITEMS
        for row, when, new in zip(found.row, found.timestamp_us, first, strict=True):
            if moment - days * DAY_US <= when < moment and (new or not newcomers):
                counts[row] += 1
        features[:, column] = [np.log1p(1e5 * c / max(sum(counts), 1)) for c in counts]
    return features


@given(events, st.integers(0, 61))
def test_popularity_is_the_share_of_each_windows_events(
    rows: list[tuple[int, int, int, int]], day: int
) -> None:
    moment = START_US + day * DAY_US
    found = PopularityFeatures(interactions(rows), ITEMS).at(moment)
    assert found.shape == (ITEMS, POPULARITY_FEATURES)
    assert found == pytest.approx(brute_popularity(interactions(rows), moment), rel=1e-5)


@settings(max_examples=200)
@given(events, events, st.integers(0, 61))
def test_popularity_knows_nothing_of_what_comes_at_or_after_its_moment(
    rows: list[tuple[int, int, int, int]], others: list[tuple[int, int, int, int]], day: int
) -> None:
    moment = START_US + day * DAY_US
    past = [row for row in rows if row[3] < moment]
    another_future = past + [(*row[:3], max(row[3], moment)) for row in others]
    found = PopularityFeatures(interactions(rows), ITEMS).at(moment)
    for world in (past, another_future):
        again = PopularityFeatures(interactions(world), ITEMS).at(moment)
        assert again.tolist() == found.tolist()
