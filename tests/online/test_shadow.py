"""The bundle in the shadow: it answers, it is counted, and nobody is shown what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from served import eventually
from shop import tiny_bundle
from vitrina.bundle.registry import SHADOW, Registry
from vitrina.errors import BundleError


def status(client: httpx.Client) -> dict[str, Any] | None:
    found: dict[str, Any] | None = client.get("/readyz").json()["shadow"]
    return found


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


@pytest.fixture
def other(registry: Registry, tmp_path: Path) -> str:
    """Another version, published and not promoted."""
    return registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), metrics={})


def test_requests_are_repeated_unseen_and_their_overlap_is_counted(
    client: httpx.Client, app: FastAPI, registry: Registry, other: str
) -> None:
    first = registry.current()
    registry.shadow(other, share=1.0)
    eventually(lambda: app.state.service.shadow.status() is not None)
    assert status(client) == {"version": other, "share": 1.0, "problem": None}
    asked = 0

    def compared() -> bool:
        nonlocal asked
        answer = client.get("/v1/recommendations?user_id=ada&k=10").json()
        assert answer["bundle"] == first
        asked += 1
        return metric(client, 'vitrina_shadow_total{outcome="compared"}') >= 3

    eventually(compared)
    overlaps = metric(client, "vitrina_shadow_overlap_sum")
    times = metric(client, "vitrina_shadow_overlap_count")
    assert 3 <= times <= asked
    assert 0 <= overlaps < times  # another shop: other items
    assert metric(client, "vitrina_shadow_seconds_sum") > 0

    registry.promote(other)
    eventually(lambda: client.get("/readyz").json()["bundle"] == other)
    eventually(lambda: status(client) is None)  # it is seen now


def test_a_shadow_ends_when_it_is_told_to(
    client: httpx.Client, registry: Registry, other: str
) -> None:
    registry.shadow(other, share=0.5)
    eventually(lambda: status(client) is not None)
    registry.end_shadow()
    eventually(lambda: status(client) is None)
    registry.end_shadow()  # there is none any more


def test_a_shadow_that_cannot_be_loaded_harms_nobody(
    client: httpx.Client, registry: Registry, other: str
) -> None:
    registry.shadow(other, share=1.0)
    index = registry.path(other) / "index.faiss"
    index.write_bytes(index.read_bytes()[:100])
    eventually(lambda: status(client) is not None)
    eventually(lambda: "index.faiss" in str((status(client) or {})["problem"]))
    answer = client.get("/v1/recommendations?user_id=ada").json()
    assert answer["degraded"] == []


def test_only_another_whole_bundle_can_be_a_shadow(registry: Registry, other: str) -> None:
    current = registry.current()
    assert current is not None
    with pytest.raises(BundleError, match="its own shadow"):
        registry.shadow(current, 1.0)
    with pytest.raises(BundleError, match="no bundle 20990101"):
        registry.shadow("20990101T000000-ffff", 1.0)
    (registry.root / SHADOW).write_text("{")
    with pytest.raises(BundleError, match=r"shadow\.json is damaged.*'vitrina shadow'"):
        registry.shadow_release()
