"""Pages: nothing is shown twice, whatever happens between them, and together they are one list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from served import ids
from shop import tiny_bundle
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.online.candidates import Shelf
from vitrina.online.cursor import CODE_BYTES, decode_cursor, encode_cursor, item_codes
from vitrina.online.recommender import Recommendation, Recommender, Request
from vitrina.schema import History
from vitrina.settings import ServeSettings
from vitrina.state.sqlite import SqliteState

SETTINGS = ServeSettings(candidates=100)


@pytest.fixture(scope="module")
def recommender(bundle: Bundle) -> Iterator[Recommender]:
    state = SqliteState(None)
    yield Recommender(bundle, state, None, SETTINGS)
    state.close()


def next_page(answer: Recommendation, **changes: object) -> Request:
    assert answer.cursor is not None
    return replace(answer.request, shown=decode_cursor(answer.cursor), **changes)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 256**CODE_BYTES - 1), max_size=200))
def test_a_cursor_says_what_was_shown(codes: list[int]) -> None:
    cursor = encode_cursor(np.array(codes, np.uint64))
    assert decode_cursor(cursor).tolist() == codes
    assert cursor.replace("-", "").replace("_", "").isalnum()  # fit for a query string


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a cursor of an earlier answer"):
        decode_cursor(text)


def test_a_cursor_that_was_cut_or_mistyped_is_refused(bundle: Bundle) -> None:
    cursor = encode_cursor(item_codes(bundle.item_ids[:7]))
    other = {place: "A" if char != "A" else "B" for place, char in enumerate(cursor[:-1])}
    for place, char in other.items():
        for damaged in (cursor[:place], cursor[:place] + char + cursor[place + 1 :]):
            with pytest.raises(ValueError, match="cut"):
                decode_cursor(damaged)


def test_items_have_codes_of_their_own() -> None:
    codes = item_codes([f"item-{number}" for number in range(50_000)])
    assert len(np.unique(codes)) == 50_000


@given(
    past=st.lists(st.integers(0, 299), max_size=12),
    kind=st.sampled_from(["view", "purchase"]),
    shelf=st.sampled_from(["for_you", "discover", "buy_again"]),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_pages_together_are_the_one_long_list(
    bundle: Bundle,
    recommender: Recommender,
    past: list[int],
    kind: str,
    shelf: Shelf,
    sizes: list[int],
) -> None:
    items = [bundle.item_ids[row] for row in past]
    history = History(items, [kind] * len(items), list(range(len(items))))
    request = Request(history=history, shelf=shelf)
    whole = recommender.recommend(replace(request, k=sum(sizes)))
    shown: list[str] = []
    page = recommender.recommend(replace(request, k=sizes[0]))
    for size in [*sizes[1:], 0]:
        shown += page.item_ids
        if size == 0 or page.cursor is None:
            break
        page = recommender.recommend(next_page(page, k=size))
    assert shown == whole.item_ids
    assert (page.cursor is None) == (whole.cursor is None)


def test_positions_count_on_and_the_last_page_says_so(client: httpx.Client) -> None:
    params = {"k": 80, "category": "DAIRY > DAIRY A"}
    first = client.get("/v1/recommendations", params=params).json()
    assert first["cursor"] is None  # under 80 of its items are to be had
    half = client.get("/v1/recommendations", params=params | {"k": 20}).json()
    rest = client.get("/v1/recommendations", params=params | {"cursor": half["cursor"]}).json()
    assert ids(half) + ids(rest) == ids(first)
    assert [item["position"] for item in rest["items"]] == list(range(21, len(ids(first)) + 1))
    assert rest["cursor"] is None


def test_events_between_pages_change_what_comes_and_repeat_nothing(client: httpx.Client) -> None:
    shown: list[str] = []
    params: dict[str, object] = {"user_id": "ada", "k": 15}
    for _ in range(6):
        page = client.post("/v1/recommendations", json=params).json()
        assert not set(shown) & set(ids(page))
        shown += ids(page)
        clicked = {"user_id": "ada", "item_id": ids(page)[-1], "event_type": "click"}
        client.post("/v1/events", json=clicked)
        params["cursor"] = page["cursor"]
    assert len(set(shown)) == 90


def test_a_newer_bundle_goes_on_without_repeating(recommender: Recommender, tmp_path: Path) -> None:
    state = SqliteState(None)
    newer = Recommender(load_bundle(tiny_bundle(tmp_path, seed=1)), state, None, SETTINGS)
    first = recommender.recommend(Request(k=25))
    second = newer.recommend(next_page(first))
    assert len(second.item_ids) == 25
    assert not set(first.item_ids) & set(second.item_ids)
    state.close()


def test_a_page_past_the_end_is_empty_and_says_why(
    bundle: Bundle, recommender: Recommender
) -> None:
    answer = recommender.recommend(Request(shown=item_codes(bundle.item_ids)))
    assert answer.item_ids == []
    assert answer.cursor is None
    assert b"last page" in answer.to_json()


def test_a_foreign_cursor_is_refused_by_name(client: httpx.Client) -> None:
    answer = client.get("/v1/recommendations", params={"cursor": "nonsense"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"
