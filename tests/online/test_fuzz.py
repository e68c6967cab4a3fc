"""What clients may send by mistake or malice: refused in words, or answered as described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 10

bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,  # raise EXAMPLES and take this out to look for more
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

WITH_BODIES = [
    ("POST", "/v1/events"),
    ("POST", "/v1/recommendations"),
    ("POST", "/v1/recommendations:batch"),
    ("PUT", "/v1/items"),
    ("POST", "/v1/items:delete"),
    ("POST", "/v1/identities"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, bundle_path: Any) -> Iterator[httpx.Client]:
    """A server of this module's own: its catalog and its shoppers are anything afterwards."""
    shop = shop_settings(tmp_path_factory.mktemp("fuzzed"))
    registry = Registry(shop.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    with serving(create_app(shop)) as client:
        yield client


def test_every_route_answers_as_described(client: httpx.Client) -> None:
    described = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    tried = []
    for found in described.get_all_operations():
        operation = found.ok()

        @bounded
        @given(case=operation.as_strategy())
        def answers_as_described(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        answers_as_described()
        tried.append(operation.label)
    assert {"POST /v1/events", "GET /v1/recommendations", "PUT /v1/items"} <= set(tried)
    assert client.get("/readyz").json()["status"] == "ready"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=20,
)
NAMES = [
    *("user_id", "session_id", "item_id", "item_ids", "items", "events", "requests", "event_type"),
    *("timestamp", "history", "k", "seed", "exclude", "cursor", "category", "price", "position"),
    *("attributes", "category_path", "purposes"),
]
fields = st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6)


@pytest.mark.parametrize(("method", "path"), WITH_BODIES)
def test_any_json_is_answered_or_refused_in_words(
    client: httpx.Client, method: str, path: str
) -> None:
    @bounded
    @given(st.one_of(json_values, fields, st.lists(fields, max_size=3)))
    def answered_or_refused(content: Any) -> None:
        answer = client.request(method, path, content=json.dumps(content).encode())
        assert answer.status_code in (200, 400, 413, 422), answer.text
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]

    answered_or_refused()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/{}/embedding"),
        ("GET", "/v1/users/{}/history"),
        ("GET", "/v1/users/{}/export"),
        ("DELETE", "/v1/users/{}"),
        ("GET", "/v1/items/{}"),
        ("GET", "/v1/items/{}/similar"),
        ("DELETE", "/v1/items/{}"),
    ],
)
def test_an_id_in_the_path_that_nothing_can_have_is_refused(
    client: httpx.Client, method: str, path: str
) -> None:
    for unusable in ("", "%00", "soup%00", "x" * 600):
        answer = client.request(method, path.format(unusable))
        assert answer.status_code == 422, unusable
        assert answer.json()["errors"][0]["field"] in ("path.user_id", "path.item_id")


@pytest.mark.parametrize(("method", "path"), WITH_BODIES)
def test_malformed_huge_and_deeply_nested_bodies_are_refused(
    client: httpx.Client, method: str, path: str
) -> None:
    deep = b"[" * 900 + b"]" * 900
    deeper = b'{"a":' * 200_000
    attributes = b'{"item_id": "deep", "attributes": {"a":' + deep + b"}}"
    long_id = json.dumps({"user_id": "x" * 990_000, "item_id": "x"}).encode()
    bodies = [
        *(b"", b"\xff\xfe", b"nul\x00l", b'{"k": 1e999}', b'{"user_id": "\\ud800"}'),
        *(deep, deeper, attributes, long_id, b" " * 1_000_001, b"[" + b"{}," * 300_000 + b"{}]"),
    ]
    for body in bodies:
        answer = client.request(method, path, content=body)
        if answer.status_code == 200:  # a batch, whose requests are refused one by one
            assert {one["status"] for one in answer.json()["answers"]} == {422}
            continue
        assert answer.status_code in (400, 413, 422), (body[:40], answer.status_code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 50_000
    assert client.get("/readyz").status_code == 200
