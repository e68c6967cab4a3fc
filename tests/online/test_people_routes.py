"""Sign-in, consent, export and erasure, as a shop's page uses them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from served import ids


def see(client: httpx.Client, item: str, **fields: Any) -> None:
    event = {"item_id": item, "event_type": "view", **fields}
    assert client.post("/v1/events", json=event).json()["accepted"] == 1


def discover(client: httpx.Client, **shopper: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(
        "/v1/recommendations", params={"shelf": "discover", **shopper}
    ).json()
    return answer


def sign_in(client: httpx.Client, session_id: str, user_id: str) -> httpx.Response:
    return client.post("/v1/identities", json={"session_id": session_id, "user_id": user_id})


def test_at_sign_in_the_session_becomes_the_users(client: httpx.Client) -> None:
    see(client, "item-0003", session_id="visit")
    anonymous, nobody = discover(client, session_id="visit"), discover(client, user_id="ada")
    assert ids(anonymous) != ids(nobody)

    assert sign_in(client, "visit", "ada").json() == {
        "session_id": "visit",
        "user_id": "ada",
        "joined": True,
    }
    assert sign_in(client, "visit", "ada").json()["joined"] is False
    assert ids(discover(client, user_id="ada")) == ids(anonymous)
    see(client, "item-0040", session_id="visit")
    assert ids(discover(client, user_id="ada")) != ids(anonymous)
    assert ids(discover(client, user_id="ada")) == ids(discover(client, session_id="visit"))

    taken = sign_in(client, "visit", "bob")
    assert taken.status_code == 409
    assert "Begin a new session" in taken.json()["detail"]
    assert "ada" not in taken.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"session_id": "visit"}, "user_id"),
        ({"session_id": "", "user_id": "ada"}, "session_id"),
        ({"session_id": "visit", "user_id": "session:x"}, "user_id"),
        ({"session_id": "vi\0sit", "user_id": "ada"}, "session_id"),
        ({"session_id": "visit", "user_id": "ada", "name": "Ada"}, "name"),
        ([], "(all)"),
    ],
)
def test_an_identity_that_cannot_be_used_is_named(
    client: httpx.Client, body: Any, field: str
) -> None:
    answer = client.post("/v1/identities", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_an_event_without_consent_changes_no_answer(client: httpx.Client) -> None:
    before = discover(client, user_id="ada")
    see(client, "item-0003", user_id="ada", purposes=["training"])
    see(client, "item-0040", user_id="ada", purposes=[])
    assert ids(discover(client, user_id="ada")) == ids(before)
    see(client, "item-0003", user_id="ada", purposes=["personalisation"])
    assert ids(discover(client, user_id="ada")) != ids(before)
    unknown = {"item_id": "item-0003", "event_type": "view", "user_id": "a", "purposes": ["sale"]}
    assert client.post("/v1/events", json=unknown).status_code == 422


def test_a_person_is_shown_everything_and_forgotten_on_demand(client: httpx.Client) -> None:
    before = discover(client, user_id="ada")
    bought = {"event_id": "e1", "item_id": "item-0003", "event_type": "purchase", "user_id": "ada"}
    assert client.post("/v1/events", json=bought).json()["accepted"] == 1
    see(client, "item-0040", session_id="visit", purposes=["training"])
    sign_in(client, "visit", "ada")

    held = client.get("/v1/users/ada/export").json()
    assert held["sessions"] == ["visit"]
    assert [event["item_id"] for event in held["events"]] == ["item-0003", "item-0040"]
    assert held["events"][0]["purposes"] == ["personalisation", "training", "audiences"]
    assert held["events"][1]["purposes"] == ["training"]
    assert [event["item_id"] for event in held["history"]] == ["item-0003"]
    assert [(each["item_id"], each["count"]) for each in held["purchases"]] == [("item-0003", 1)]

    discover(client, user_id="ada")  # so that there is a cached vector
    assert client.delete("/v1/users/session:visit").status_code == 409
    receipt = client.delete("/v1/users/ada").json()
    assert receipt["deleted"] == {"events": 2, "history": 1, "purchases": 1, "sessions": 1}
    assert len(receipt["receipt_id"]) == 32

    left = client.get("/v1/users/ada/export").json()
    assert left == {"user_id": "ada", "sessions": [], "events": [], "history": [], "purchases": []}
    assert ids(discover(client, user_id="ada")) == ids(before)
    again = client.post("/v1/events", json={**bought, "timestamp": "2026-01-01T00:00:00Z"})
    assert again.json()["accepted"] == 0
    see(client, "item-0003", user_id="ada")  # somebody who comes back
