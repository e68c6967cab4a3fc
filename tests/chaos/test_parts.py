"""Every part of the request path that can fail or hang: what is served without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from chaos.drill import Drill, Fault, Shop, broken, hanging, raising
from served import eventually
from vitrina.bundle.catalog import Catalog
from vitrina.index.faiss import FaissIndex
from vitrina.online.breaker import FAILURES
from vitrina.online.user_vector import OnnxEncoder
from vitrina.rank.ranker import Ranker
from vitrina.state.sqlite import SqliteState
from vitrina.state.vector_cache import LruVectorCache

ENCODER = (OnnxEncoder, "__call__")
INDEX = (FaissIndex, "search")
HISTORY = (SqliteState, "shopper")
CACHE = (LruVectorCache, "get")
RANKER = (Ranker, "rank")
CATALOG = (Catalog, "blobs")

LISTS = {"co_visited", "best_seller", "popular"}


@contextmanager
def everything_hangs(_: Shop) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name in (ENCODER, INDEX, HISTORY, CACHE, RANKER, CATALOG):
            stack.enter_context(hanging(owner, name))
        yield


@contextmanager
def blank_catalog(shop: Shop) -> Iterator[None]:
    """Every line of the file that the server has mapped is blank."""
    path = shop.bundle.path / "catalog.jsonl"
    lines = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b" " * len(lines))
    try:
        yield
    finally:
        with path.open("r+b") as file:
            file.write(lines)


def not_a_number(*_: object) -> np.ndarray:
    return np.full(16, np.nan, np.float32)


FAULTS = (
    Fault("encoder raises", lambda _: raising(*ENCODER), "user_vector", {"mix"}),
    Fault(
        "encoder answers NaN",
        lambda _: broken(*ENCODER, lambda _: not_a_number),
        "user_vector",
        {"mix"},
    ),
    Fault("encoder takes 1 s", lambda _: hanging(*ENCODER, 1.0), "user_vector", {"mix"}),
    Fault("encoder hangs", lambda _: hanging(*ENCODER), "user_vector", {"mix"}),
    Fault("index raises", lambda _: raising(*INDEX), "candidates", LISTS),
    Fault("index hangs", lambda _: hanging(*INDEX), "candidates", LISTS),
    Fault("ranker raises", lambda _: raising(*RANKER), "rank", {"learned"}),
    Fault("ranker hangs", lambda _: hanging(*RANKER), "rank", {"learned"}),
    Fault("history store raises", lambda _: raising(*HISTORY), "history", {"learned"}),
    Fault("history store hangs", lambda _: hanging(*HISTORY), "history", {"learned"}),
    Fault("vector cache raises", lambda _: raising(*CACHE), "user_vector", {"learned"}),
    Fault("vector cache hangs", lambda _: hanging(*CACHE), "user_vector", {"learned"}),
    Fault("catalog cannot be read", lambda _: raising(*CATALOG), "hydrate", {"learned"}),
    Fault("catalog hangs", lambda _: hanging(*CATALOG), "hydrate", {"learned"}),
    Fault("catalog rows missing", blank_catalog, "hydrate", {"learned"}),
    Fault(
        "all of them hang",
        everything_hangs,
        "hydrate",
        {"mix", "centroid", *LISTS},
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_shoppers_get_a_list_in_time(
    fault: Fault, shop: Shop, run_drill: Callable[[Fault, Shop], Drill]
) -> None:
    seen = run_drill(fault, shop)
    # Whatever hangs does so for 30 s; the deadline is 0.25 s, and this machine may be busy.
    assert max(seen.seconds) < 5


def test_operators_see_what_is_left_out(new_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    def ask() -> dict[str, Any]:
        request = {"history": [{"item_id": "item-0003"}], "k": 5}
        content: dict[str, Any] = new_shop.client.post("/v1/recommendations", json=request).json()
        return content

    def encoder() -> str:
        return str(new_shop.client.get("/readyz").json()["breakers"]["encoder"])

    with raising(*ENCODER):
        answers = [ask() for _ in range(FAILURES)]
        assert encoder() == "open"
        metrics = new_shop.client.get("/metrics").text
        assert 'vitrina_breaker_state{part="encoder",state="open"} 1.0' in metrics
        assert 'vitrina_degraded_total{stage="user_vector"}' in metrics
    # The others' lines would say the same.
    lines = [record.getMessage() for record in caplog.records if "served by" in record.getMessage()]
    assert answers[0]["request_id"] in lines[0]
    assert "served by average" in lines[0]
    assert "the disk is away" in lines[0]
    eventually(lambda: not ask()["degraded"])
    assert encoder() == "closed"


def test_operators_see_how_old_the_vectors_are_that_stand_in_for_histories(
    new_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> dict[str, Any]:
        content: dict[str, Any] = new_shop.client.get("/v1/recommendations?user_id=mia").json()
        return content

    def counted() -> str:
        metrics = new_shop.client.get("/metrics").text
        return metrics.partition("vitrina_stale_user_vector_seconds_count ")[2].partition("\n")[0]

    event = {"user_id": "mia", "item_id": "item-0003", "event_type": "view"}
    assert new_shop.client.post("/v1/events", json=event).status_code == 200
    eventually(lambda: not ask()["degraded"])
    before = float(counted())
    with raising(*HISTORY):
        answer = ask()
    assert float(counted()) == before + 1
    (line,) = (record for record in caplog.records if answer["request_id"] in record.getMessage())
    assert "the cached vector is 0." in line.getMessage()
    eventually(lambda: not ask()["degraded"])


def test_answers_without_ranking_by_the_thousand_do_not_flood_the_log(
    new_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with raising(*RANKER):
        for _ in range(200):
            assert new_shop.client.get("/v1/recommendations").json()["degraded"]
    lines = [record for record in caplog.records if "was served by" in record.getMessage()]
    assert 0 < len(lines) < 50, "one for each kind, every ten seconds"
    eventually(lambda: not new_shop.client.get("/v1/recommendations").json()["degraded"])
