"""The log of a server: one JSON object a line, tied together by request ids, silent on persons."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app
from vitrina.online.logs import Sparingly, log_handler

USER, SESSION, ADDRESS, ITEM = "agatha-c-1890", "visit-to-styles", "203.0.113.77", "item-0003"


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that a server logs, down to the least, in both forms."""
    handler = log_handler(request.param)
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream := io.StringIO())
    loggers = [logging.getLogger(name) for name in ("vitrina", "uvicorn", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def app(tmp_path: Path, registry: Registry) -> FastAPI:
    return create_app(shop_settings(tmp_path))


def test_no_line_is_about_a_person(app: FastAPI, log: io.StringIO, tmp_path: Path) -> None:
    event = {"user_id": USER, "session_id": SESSION, "item_id": ITEM, "event_type": "view"}
    headers = {"X-Forwarded-For": ADDRESS, "X-Request-ID": "known-7f3a"}
    with serving(app, log_config=None, access_log=False) as client:
        client.headers.update(headers)
        assert client.post("/v1/events", json=event).status_code == 200
        assert client.post("/v1/events", json={**event, "event_type": USER}).status_code == 422
        assert client.get(f"/v1/users/{USER}/history").status_code == 200
        assert client.get(f"/v1/items/{ITEM}{USER}").status_code == 404
        app.state.service.state.close()  # from here on, everything about it fails
        answer = client.get("/v1/recommendations", params={"user_id": USER, "seed": ITEM}).json()
        assert answer["degraded"]
        assert client.post("/v1/events", json=event).status_code == 503
        for path in (f"/v1/users/{USER}/history", f"/v1/users/session:{SESSION}/embedding"):
            httpx.get(f"{client.base_url}{path}", headers=headers, timeout=30)
    text = log.getvalue()
    assert "known-7f3a" in text, "the request is named"
    assert "history" in text, "the fault is named"
    for secret in (USER, SESSION, ADDRESS, ITEM):
        assert secret not in text


def test_what_happens_to_every_request_is_a_line_in_ten_seconds(log: io.StringIO) -> None:
    now = 0.0
    lines = Sparingly(logging.getLogger("vitrina.crowd"), clock=lambda: now)
    for request in range(1_000):
        now = request / 50
        logged = lines.log(logging.WARNING, "rank", f"Request r{request} was not ranked.")
        assert logged == (request in (0, 500))
    assert lines.log(logging.ERROR, "unstored", "Events could not be stored.")
    written = log.getvalue().splitlines()
    assert len(written) == 3
    assert "Request r0 was not ranked." in written[0]
    assert "Request r500 was not ranked. 499 more like this were not logged." in written[1]
    assert "Events could not be stored." in written[2]


def test_each_line_is_an_object_with_the_requests_id(
    app: FastAPI, log: io.StringIO, request: pytest.FixtureRequest
) -> None:
    with serving(app, log_config=None, access_log=False) as client:
        app.state.service.state.close()
        client.get("/v1/recommendations?user_id=ada", headers={"X-Request-ID": "known-7f3a"})
    lines = log.getvalue().splitlines()
    if not lines[0].startswith("{"):
        assert any("[known-7f3a]" in line for line in lines)
        return
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for entry in entries:
        assert {"at", "level", "logger", "message"} <= set(entry)
    ours = [entry for entry in entries if entry.get("request_id") == "known-7f3a"]
    assert {"warning"} <= {entry["level"] for entry in ours}
    assert any("Traceback" in entry.get("error", "") for entry in ours), "in the line of its error"
