"""POST /v1/events: what is acknowledged counts in the very next answer, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from served import ids


def event(**fields: Any) -> dict[str, Any]:
    return {"user_id": "ada", "item_id": "item-0003", "event_type": "view"} | fields


def post(client: httpx.Client, content: Any) -> httpx.Response:
    return client.post("/v1/events", json=content)


def discover(client: httpx.Client, **shopper: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(
        "/v1/recommendations", params={"shelf": "discover", **shopper}
    ).json()
    return answer


@pytest.mark.parametrize("shopper", [{"user_id": "ada"}, {"session_id": "visit-1"}])
def test_an_event_changes_the_next_answer(client: httpx.Client, shopper: dict[str, str]) -> None:
    answers = [discover(client, **shopper)]
    for item in ("item-0003", "item-0040", "item-0077"):
        sent = {"item_id": item, "event_type": "view", **shopper}
        assert post(client, sent).json()["accepted"] == 1
        answers.append(discover(client, **shopper))
        assert item not in ids(answers[-1])
        assert ids(answers[-1]) != ids(answers[-2])
    assert [answer["served_by"] for answer in answers] == [
        *("centroid", "learned", "learned", "learned")
    ]


def test_an_event_of_one_shopper_is_nobody_elses(client: httpx.Client) -> None:
    post(client, [event(user_id="bob"), event(user_id="bob", item_id="item-0004")])
    before = discover(client, user_id="bob")
    post(client, [event(item_id="item-0050"), event(item_id="item-0051")])
    assert ids(discover(client, user_id="bob")) == ids(before)


def test_one_event_a_list_and_a_batch_are_all_taken(client: httpx.Client) -> None:
    one = post(client, event(event_id="e1"))
    several = post(client, [event(event_id="e2"), event(event_id="e3")])
    batch = post(client, {"events": [event(event_id="e4"), event(event_id="e1")]})
    assert one.json() == {"accepted": 1, "duplicates": 0, "unknown_items": 0}
    assert several.json() == {"accepted": 2, "duplicates": 0, "unknown_items": 0}
    assert batch.json() == {"accepted": 1, "duplicates": 1, "unknown_items": 0}


def test_an_event_sent_again_is_acknowledged_and_counts_once(client: httpx.Client) -> None:
    for _ in range(3):
        assert post(client, event(event_id="e1")).status_code == 200
    assert len(client.get("/v1/users/ada/history").json()["events"]) == 1


def test_events_without_a_time_happen_now_in_the_order_sent(client: httpx.Client) -> None:
    items = ["item-0009", "item-0001", "item-0005"]
    before = datetime.now(UTC)
    post(client, [event(item_id=item) for item in items])
    events = client.get("/v1/users/ada/history").json()["events"]
    assert [entry["item_id"] for entry in events] == items
    for entry in events:
        happened = datetime.fromisoformat(entry["timestamp"])
        assert before <= happened <= datetime.now(UTC)


def test_moments_are_kept_to_the_microsecond_and_in_utc(client: httpx.Client) -> None:
    post(
        client,
        [
            event(timestamp="2026-01-02T03:04:05.678901+02:00"),
            event(timestamp="2026-01-02T01:04:06"),
            event(timestamp=1767315847),
            event(timestamp=1767315848500),
        ],
    )
    events = client.get("/v1/users/ada/history").json()["events"]
    assert [entry["timestamp"] for entry in events] == [
        "2026-01-02T01:04:05.678901Z",
        "2026-01-02T01:04:06Z",
        "2026-01-02T01:04:07Z",
        "2026-01-02T01:04:08.500000Z",
    ]


def test_ids_may_be_numbers(client: httpx.Client) -> None:
    assert post(client, event(user_id=1024, item_id=951590)).status_code == 200
    assert client.get("/v1/users/1024/history").json()["events"][0]["item_id"] == "951590"


def test_an_item_the_bundle_lacks_is_stored_and_counted(client: httpx.Client) -> None:
    answer = post(client, [event(item_id="brand-new"), event()]).json()
    assert answer == {"accepted": 2, "duplicates": 0, "unknown_items": 1}
    assert discover(client, user_id="ada")["served_by"] == "learned"  # one usable event


def test_what_was_shown_is_logged_and_changes_no_answer(client: httpx.Client) -> None:
    post(client, [event(), event(item_id="item-0019")])
    answer = discover(client, user_id="ada")
    shown = [
        event(
            item_id=item["item_id"],
            event_type="impression",
            request_id=answer["request_id"],
            position=item["position"],
        )
        for item in answer["items"]
    ]
    assert post(client, shown).json()["accepted"] == len(shown)
    assert ids(discover(client, user_id="ada")) == ids(answer)
    assert len(client.get("/v1/users/ada/history").json()["events"]) == 2


FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize(
    ("sent", "field", "says"),
    [
        (event(item_id=None), "item_id", "valid string"),
        ({"user_id": "ada", "event_type": "view"}, "item_id", "required"),
        (
            {"item_id": "item-0003", "event_type": "view"},
            "(all)",
            "needs a user_id or a session_id",
        ),
        (event(event_type="teleport"), "event_type", "this shop knows view, click"),
        (event(event_type="impression", request_id="r"), "(all)", "request_id and the position"),
        (event(timestamp="yesterday"), "timestamp", "valid datetime"),
        (event(timestamp=FUTURE), "timestamp", "5 minutes from now"),
        (event(timestamp="0001-01-01T00:00:00+14:00"), "timestamp", "1990"),
        (event(timestmp="2026-01-01"), "timestmp", "not permitted"),
        (event(user_id="session:x"), "user_id", "must not start with 'session:'"),
        (event(user_id=""), "user_id", "at least 1 character"),
        (event(item_id="x" * 513), "item_id", "at most 512"),
        (event(item_id="a\0b"), "item_id", "U+0000"),
        (event(position=2**31), "position", "less than"),
        (event(purposes=["sale"]), "purposes.0", "'training'"),
        (event(position=-1), "position", "greater than or equal to 0"),
        (event(value="dear"), "value", "valid number"),
        ("soup", "(all)", "valid dictionary"),
        (None, "(all)", "valid dictionary"),
    ],
)
def test_an_unusable_event_is_named_and_nothing_is_stored(
    client: httpx.Client, sent: Any, field: str, says: str
) -> None:
    answer = post(client, [event(user_id="bob"), sent])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert "No event was stored" in problem["detail"]
    (error,) = problem["errors"]
    assert (error["index"], error["field"]) == (1, field)
    assert says in error["message"]
    assert client.get("/v1/users/bob/history").json()["events"] == []


@pytest.mark.parametrize("content", ["soup", 7, [[]], {"events": "soup"}, {"events": None}])
def test_a_body_of_another_shape_is_refused(client: httpx.Client, content: Any) -> None:
    answer = post(client, content)
    assert answer.status_code == 422
    assert "event" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b'{"user_id": "ada",', "line 1 column"),
        (b'{"user_id": "\xff"}', "not JSON"),
        (b'{"user_id": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_body_that_is_not_json_is_refused(client: httpx.Client, body: bytes, says: str) -> None:
    answer = client.post("/v1/events", content=body)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


def test_a_body_over_a_megabyte_is_refused(client: httpx.Client) -> None:
    answer = post(client, [event(event_id=str(n)) for n in range(20_000)])
    assert answer.status_code == 413
    assert "1,000,000 bytes" in answer.json()["detail"]
    assert client.get("/v1/users/ada/history").json()["events"] == []
