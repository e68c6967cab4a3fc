"""The other routes: what they answer, and how they refuse."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from served import ids, serving, shop_settings
from vitrina.bundle.bundle import Bundle
from vitrina.errors import DataError
from vitrina.online.app import create_app


def recommend(client: httpx.Client, **params: Any) -> dict[str, Any]:
    answer = client.get("/v1/recommendations", params=params)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_an_answer_names_everything_that_made_it(client: httpx.Client, bundle: Bundle) -> None:
    answer = recommend(client, user_id="ada", k=3)
    assert list(answer) == [
        *("request_id", "user_id", "session_id", "device_type", "shelf", "served_by", "degraded"),
        *("user_embedding_version", "item_embedding_version", "bundle", "items"),
        *("cursor", "timings_ms"),
    ]
    version = bundle.manifest.version
    assert answer["bundle"] == version
    assert answer["user_embedding_version"] == f"user_v{version}"
    assert answer["item_embedding_version"] == f"items_v{version}"
    assert set(answer["timings_ms"]) == {
        *("history", "user_vector", "candidates", "rank", "hydrate", "total")
    }
    item = answer["items"][0]
    assert {"item_id", "title", "category_path", "available", "score", "source"} <= set(item)
    assert item["position"] == 1


def test_every_recommendation_says_where_its_time_went(client: httpx.Client) -> None:
    answer = client.get("/v1/recommendations?user_id=ada")
    stages = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
    assert {stage: float(spent) for stage, spent in stages.items()} == answer.json()["timings_ms"]
    near = client.get("/v1/items/item-0003/similar").headers["Server-Timing"]
    assert [part.partition(";")[0] for part in near.split(", ")] == [
        *("candidates", "hydrate", "total")
    ]


def test_get_and_post_answer_alike(client: httpx.Client) -> None:
    params = {"user_id": "ada", "k": 5, "category": ["DAIRY", "BAKERY"], "max_price": 20}
    got = recommend(client, **params)
    posted = client.post("/v1/recommendations", json=params).json()
    assert ids(got) == ids(posted)
    categories = {item["category_path"][0] for item in got["items"]}
    assert categories <= {"DAIRY", "BAKERY"}


def test_what_is_shown_lies_where_it_is_asked_for(client: httpx.Client) -> None:
    params = {"user_id": "ada", "location": ["lyon", "Atlantis"], "condition": "USED", "k": 50}
    got = recommend(client, **params)
    assert {(item["location"], item["condition"]) for item in got["items"]} == {("Lyon", "used")}
    assert ids(got) == ids(client.post("/v1/recommendations", json=params).json())
    assert recommend(client, location="Atlantis")["items"] == []


def test_what_it_is_shown_on_is_counted_and_comes_back(client: httpx.Client) -> None:
    assert recommend(client, user_id="ada")["device_type"] is None
    posted = {"user_id": "ada", "device_type": "tablet", "surface": "cart"}
    answer = client.post("/v1/recommendations", json=posted).json()
    assert answer["device_type"] == "tablet"
    assert ids(answer) == ids(client.post("/v1/recommendations", json={"user_id": "ada"}).json())
    counts = client.get("/metrics").text
    assert 'vitrina_shown_total{device_type="tablet",surface="cart"} 1.0' in counts
    assert 'vitrina_shown_total{device_type="unknown",surface="home"} 2.0' in counts


def test_a_history_may_come_with_the_request(client: httpx.Client) -> None:
    history = [
        {"item_id": "item-0004", "event_type": "purchase", "timestamp": "2026-01-02T00:00:00Z"},
        {"item_id": "item-0003"},
    ]
    sent = {"history": history, "shelf": "for_you", "k": 100}
    answer = client.post("/v1/recommendations", json=sent).json()
    assert answer["served_by"] == "learned"
    (bought,) = (item for item in answer["items"] if item["source"] == "repurchase")
    assert bought["item_id"] == "item-0004"
    assert client.post("/v1/recommendations", json={"history": []}).json()["items"]


def test_a_product_page_gets_what_is_like_its_product(client: httpx.Client) -> None:
    params = {"surface": "product_page", "seed": "item-0004", "exclude": ["item-0020"], "k": 6}
    got = recommend(client, **params)
    assert ids(got) == ids(client.post("/v1/recommendations", json=params).json())
    assert "DAIRY A1" in {item["category_path"][-1] for item in got["items"]}
    assert not {"item-0004", "item-0020"} & set(ids(got))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"surface": "cellar"}, "surface"),
        ({"device_type": "toaster"}, "device_type"),
        ({"seed": ["", "item-0003"]}, "seed.0"),
        ({"k": 0}, "k"),
        ({"k": 101}, "k"),
        ({"k": "many"}, "k"),
        ({"shelf": "top"}, "shelf"),
        ({"min_price": "nan"}, "min_price"),
        ({"min_price": 9, "max_price": 1}, "(all)"),
        ({"shelf": "buy_again", "exclude_seen": True}, "(all)"),
        ({"user_id": "session:1"}, "user_id"),
        ({"colour": "red"}, "colour"),
        ({"history": "soup"}, "history"),
    ],
)
def test_an_unusable_request_is_refused_by_field(
    client: httpx.Client, params: dict[str, Any], field: str
) -> None:
    for answer in (
        client.get("/v1/recommendations", params=params),
        client.post("/v1/recommendations", json=params),
    ):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_body_that_is_no_object_is_refused(client: httpx.Client) -> None:
    for body in ("[]", "7", "null"):
        assert client.post("/v1/recommendations", content=body).status_code == 422
    assert client.post("/v1/recommendations", content="{").status_code == 400


def test_the_embedding_route_answers_exactly_this(client: httpx.Client, bundle: Bundle) -> None:
    version = bundle.manifest.version
    for item in ("item-0003", "item-0004"):
        event = {"user_id": "ada", "item_id": item, "event_type": "view"}
        client.post("/v1/events", json=event)
    expected: dict[str, Any] = {
        "user_embedding": {"dim": 16, "norm": 1.0},
        "user_embedding_version": f"user_v{version}",
        "depends_on": {"item_embedding_version": f"items_v{version}"},
        "rung": "learned",
    }
    assert client.get("/v1/users/ada/embedding").json() == expected

    with_vector = client.get("/v1/users/ada/embedding?include_vector=true").json()
    vector = with_vector["user_embedding"].pop("vector")
    assert with_vector == expected
    assert len(vector) == 16
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-3)

    unknown = client.get("/v1/users/nobody/embedding").json()
    assert unknown == expected | {"rung": "centroid"}


def test_items_and_their_neighbours_are_looked_up(client: httpx.Client) -> None:
    item = client.get("/v1/items/item-0003").json()
    assert item["title"] == "Bakery B2 no. 3"
    similar = client.get("/v1/items/item-0003/similar", params={"k": 4}).json()
    assert len(similar["items"]) == 4
    assert {near["category_path"][-1] for near in similar["items"]} == {"BAKERY B2"}


@pytest.mark.parametrize("path", ["/v1/items/gone", "/v1/items/gone/similar", "/v1/nowhere"])
def test_what_is_not_there_is_a_404_in_words(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_ids_may_hold_any_character_but_one(client: httpx.Client) -> None:
    user = "a/b ?&#%☕\u0001'; DROP TABLE history; --\n\n"
    event = {"user_id": user, "item_id": "item-0003", "event_type": "view"}
    assert client.post("/v1/events", json=event).status_code == 200
    history = client.get(f"/v1/users/{quote(user, safe='')}/history").json()
    assert history["user_id"] == user
    assert len(history["events"]) == 1


def test_wrong_parameters_of_lookups_are_refused(client: httpx.Client) -> None:
    for path in ("/v1/items/item-0003/similar?k=0", "/v1/users/ada/history?limit=x"):
        answer = client.get(path)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"]
    refused = client.delete("/v1/events")
    assert refused.status_code == 405
    assert refused.json()["title"] == "Method Not Allowed"


def test_metrics_count_what_happened(client: httpx.Client, bundle: Bundle) -> None:
    recommend(client, user_id="ada")
    recommend(client, user_id="ada")
    event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view", "event_id": "e1"}
    client.post("/v1/events", json=[event, event])
    client.post("/v1/events", json={})
    text = client.get("/metrics").text
    for line in (
        'vitrina_served_total{rung="centroid",shelf="for_you"} 2.0',
        'vitrina_user_vector_cache_total{outcome="miss"} 1.0',
        'vitrina_user_vector_cache_total{outcome="hit"} 1.0',
        'vitrina_events_total{outcome="accepted"} 1.0',
        'vitrina_events_total{outcome="duplicate"} 1.0',
        'vitrina_events_total{outcome="refused"} 1.0',
        'vitrina_requests_total{route="/v1/recommendations",status="200"} 2.0',
        'vitrina_stage_seconds_count{stage="rank"} 2.0',
        f'vitrina_bundle_info{{version="{bundle.manifest.version}"}} 1.0',
    ):
        assert line in text


def test_every_route_is_documented_with_an_example(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/events",
        "/v1/recommendations",
        "/v1/recommendations:batch",
        "/v1/items",
        "/v1/items:delete",
        "/v1/items/{item_id}",
        "/v1/items/{item_id}/similar",
        "/v1/users/{user_id}/embedding",
        "/v1/users/{user_id}/history",
        "/v1/users/{user_id}/export",
        "/v1/users/{user_id}",
        "/v1/identities",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path, methods in document["paths"].items():
        for name, operation in methods.items():
            assert operation["summary"]
            bodies = [part for part in operation["responses"].values() if "content" in part]
            if "requestBody" in operation:
                bodies.append(operation["requestBody"])
            for body in bodies:
                for kind, content in body["content"].items():
                    assert content["example"], f"{name} {path}: {kind} has no example"
                    assert content["schema"], f"{name} {path}: {kind} has no schema"
    parameters = document["paths"]["/v1/recommendations"]["get"]["parameters"]
    assert {"user_id", "session_id", "k", "shelf", "category"} <= {p["name"] for p in parameters}
    assert "$ref" not in str(document["paths"]["/v1/events"]["post"]["requestBody"])
    assert client.get("/docs").status_code == 200


def test_the_documented_examples_are_accepted(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/events", "/v1/recommendations", "/v1/recommendations:batch"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]
        assert client.post(path, json=body["example"]).status_code == 200


def test_a_lost_state_still_gets_recommendations(app: FastAPI, client: httpx.Client) -> None:
    app.state.service.state.close()
    answer = recommend(client, user_id="ada")
    assert len(answer["items"]) == 20
    assert answer["degraded"][0].startswith("history:")
    event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}
    refused = client.post("/v1/events", json=event)
    assert refused.status_code == 503
    assert "No event was stored" in refused.json()["detail"]
    assert client.get("/healthz").json() == {"status": "alive"}


def test_without_a_bundle_the_server_says_what_to_do(tmp_path: Any) -> None:
    with serving(create_app(shop_settings(tmp_path))) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/v1/recommendations", "/v1/items/item-0003"):
            refused = client.get(path)
            assert refused.status_code == 503
            assert "No bundle has been promoted" in refused.json()["detail"]
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "vitrina promote" in ready.json()["problem"]
        event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}
        assert client.post("/v1/events", json=event).json()["accepted"] == 1


def test_a_foreign_state_file_keeps_the_server_from_starting(tmp_path: Any) -> None:
    settings = shop_settings(tmp_path)
    settings.paths.state.write_text("this is a shopping list, not a database\n" * 100)
    with pytest.raises(DataError, match="cannot be used as the event log"):
        create_app(settings)
