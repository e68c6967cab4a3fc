"""Many requests at once: the answers that each would get alone, whatever happens to some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from served import ids
from vitrina.bundle.bundle import Bundle
from vitrina.encoding import EncodedHistory
from vitrina.filters import EVERYTHING, Filters
from vitrina.index.faiss import FaissIndex
from vitrina.online.recommender import Recommender, Request
from vitrina.online.user_vector import OnnxEncoder
from vitrina.schema import Event, History
from vitrina.settings import ServeSettings
from vitrina.space import FloatMatrix, Vectors
from vitrina.state.sqlite import SqliteState

SETTINGS = ServeSettings(candidates=100)


@pytest.fixture(scope="module")
def recommender(bundle: Bundle) -> Iterator[Recommender]:
    state = SqliteState(None)
    yield Recommender(bundle, state, None, SETTINGS)
    state.close()


def history(rows: Sequence[int]) -> History:
    return History(
        [f"item-{row:04d}" for row in rows], ["view"] * len(rows), list(range(len(rows)))
    )


requests = st.builds(
    Request,
    history=st.lists(st.integers(0, 310), max_size=30).map(history),
    k=st.integers(1, 60),
    shelf=st.sampled_from(["for_you", "discover", "buy_again"]),
    filters=st.sampled_from([Filters(), Filters(categories=("DAIRY",)), Filters(max_price=9)]),
    exclude=st.lists(st.sampled_from(["item-0003", "item-0040"])),
)


@settings(max_examples=25)
@given(st.lists(requests, max_size=8))
def test_a_batch_gets_what_each_request_gets_alone(
    recommender: Recommender, batch: list[Request]
) -> None:
    prepared = recommender.prepared(batch)
    for request in batch:
        alone, together = recommender.recommend(request), prepared.recommend(request)
        assert together.item_ids == alone.item_ids
        assert together.served_by == alone.served_by
        assert together.degraded == []


def test_encoder_and_index_are_asked_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    search, encode = FaissIndex.search, OnnxEncoder.many

    def counted_search(
        self: FaissIndex, queries: Vectors, k: int, allowed: Any = EVERYTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(queries))
        return search(self, queries, k, allowed)

    def counted_encode(
        self: OnnxEncoder, histories: Sequence[EncodedHistory], catalog: FloatMatrix
    ) -> FloatMatrix:
        asked.append(len(histories))
        return encode(self, histories, catalog)

    monkeypatch.setattr(FaissIndex, "search", counted_search)
    monkeypatch.setattr(OnnxEncoder, "many", counted_encode)
    monkeypatch.setattr(OnnxEncoder, "__call__", None)
    state = SqliteState(None)
    batch = [Request(history=history([row, row + 1])) for row in range(20)]
    batch += [Request(), Request()]  # newcomers share one vector
    prepared = Recommender(bundle, state, None, SETTINGS).prepared(batch)
    answers = [prepared.recommend(request) for request in batch]
    assert asked == [20, 21]
    assert {answer.served_by for answer in answers} == {"learned", "centroid"}
    state.close()


def test_an_event_after_the_preparation_counts(bundle: Bundle) -> None:
    state = SqliteState(None)
    recommender = Recommender(bundle, state, None, SETTINGS)
    request = Request(key="ada", shelf="discover")
    prepared = recommender.prepared([request])
    before = prepared.recommend(request)
    state.append([Event("e1", "item-0003", "view", 1, user_id="ada")])
    after = prepared.recommend(request)
    assert (before.served_by, after.served_by) == ("centroid", "learned")
    assert after.item_ids == recommender.recommend(request).item_ids
    state.close()


def test_what_fails_for_all_is_left_to_each(bundle: Bundle) -> None:
    class BrokenIndex(FaissIndex):
        def search(self, queries: Vectors, k: int, allowed: Any = EVERYTHING) -> Any:
            raise RuntimeError("the index is on fire")

    state = SqliteState(None)
    broken = replace(bundle, index=BrokenIndex.build(bundle.vectors))
    recommender = Recommender(broken, state, None, SETTINGS)
    answer = recommender.prepared([Request()]).recommend(Request())
    assert answer.served_by == "popular"
    assert len(answer.item_ids) == 20
    state.close()


def test_answers_come_in_order_and_a_bad_request_fails_alone(client: httpx.Client) -> None:
    bought = {"user_id": "ada", "item_id": "item-0003", "event_type": "purchase"}
    client.post("/v1/events", json=bought)
    batch: list[Any] = [
        {"user_id": "ada", "k": 3},
        {"user_id": "bob", "k": 0},
        "soup",
        {"session_id": "s", "k": 2, "category": "DAIRY"},
        {"history": [{"item_id": "item-0004"}], "k": 1},
    ]
    answer = client.post("/v1/recommendations:batch", json={"requests": batch})
    assert answer.status_code == 200
    answers = answer.json()["answers"]
    assert [len(one["items"]) if "items" in one else one["status"] for one in answers] == [
        *(3, 422, 422, 2, 1)
    ]
    assert answers[0]["user_id"] == "ada"
    assert answers[1]["errors"][0]["field"] == "k"
    for place in (0, 3, 4):
        alone = client.post("/v1/recommendations", json=batch[place]).json()
        assert ids(answers[place]) == ids(alone)
    listed = client.post("/v1/recommendations:batch", json=batch[:1]).json()
    assert ids(listed["answers"][0]) == ids(answers[0])


@pytest.mark.parametrize("content", [[], {}, {"requests": []}, "soup", {"requests": [{}] * 101}])
def test_what_is_no_batch_is_refused(client: httpx.Client, content: Any) -> None:
    answer = client.post("/v1/recommendations:batch", json=content)
    assert answer.status_code == 422
    assert "1 to 100 requests" in answer.json()["detail"]
