"""Deadlines: an answer comes in time, whatever hangs."""

from __future__ import annotations

import threading
import time

import anyio
import httpx
import pytest

from vitrina.online.deadline import Deadlines
from vitrina.online.stages import PARTS, Stages, make_breakers
from vitrina.online.turns import Turns

SECONDS = 0.5


def keep(work, seconds: float = SECONDS) -> list[str]:  # type: ignore[no-untyped-def]
    """What `Deadlines.keep` answers, in an event loop of its own."""

    async def run() -> list[str]:
        answer: list[str] = await Deadlines().keep(work, make_breakers(seconds * 1e3), seconds)
        return answer

    return anyio.run(run)


def ask(stages: Stages, *parts: str, stuck: dict[str, threading.Event]) -> list[str]:
    """Call the parts one after the other; those that are `stuck` hang until their event."""

    def part(name: str) -> str:
        if name in stuck:
            stuck[name].wait(30)
        return name

    return [
        stages.run(name, lambda name=name: stages.call(name, lambda: part(name)), lambda: "without")  # type: ignore[misc]
        for name in parts
    ]


@pytest.fixture
def stuck() -> dict[str, threading.Event]:
    return {name: threading.Event() for name in PARTS}


def test_what_is_quick_is_whole(stuck: dict[str, threading.Event]) -> None:
    assert keep(lambda stages: ask(stages, "encoder", "index", stuck={})) == ["encoder", "index"]


def test_only_the_part_that_hangs_is_left_out(stuck: dict[str, threading.Event]) -> None:
    hang = {"index": stuck["index"]}
    started = time.perf_counter()
    answer = keep(lambda stages: ask(stages, "encoder", "index", "ranker", stuck=hang))
    elapsed = time.perf_counter() - started
    stuck["index"].set()
    assert answer == ["encoder", "without", "ranker"]
    assert elapsed < 10  # not the 30 seconds of the hanging call


def test_two_parts_that_hang_still_leave_an_answer(stuck: dict[str, threading.Event]) -> None:
    hang = {name: stuck[name] for name in ("encoder", "ranker")}
    answer = keep(lambda stages: ask(stages, "encoder", "index", "ranker", stuck=hang))
    for event in hang.values():
        event.set()
    assert answer == ["without"] * 3


def test_what_raises_outside_of_every_net_is_answered_too() -> None:
    def work(stages: Stages) -> list[str]:
        answer = ask(stages, "index", stuck={})
        if answer == ["index"]:
            raise RuntimeError("a mistake of ours")
        return answer

    assert keep(work) == ["without"]


def test_with_more_to_do_than_time_those_who_came_last_are_served_whole() -> None:
    """In order, everybody would begin when it is nearly too late, and nobody be served."""
    deadline, work_seconds, arrivals = 0.4, 0.1, 60

    async def run() -> list[list[str]]:
        deadlines, answers = Deadlines(), list[list[str]]()

        async def request() -> None:
            def work(stages: Stages) -> list[str]:
                return [stages.run("index", lambda: stages.call("index", slow), lambda: "without")]

            answers.append(await deadlines.keep(work, {}, deadline))

        def slow() -> str:
            time.sleep(work_seconds)
            return "index"

        async with anyio.create_task_group() as group:
            for _ in range(arrivals):
                group.start_soon(request)
                await anyio.sleep(0.3 * work_seconds / 2)  # three times what two threads can do
        return answers

    answers = anyio.run(run)
    assert len(answers) == arrivals
    assert sum(answer == ["index"] for answer in answers[arrivals // 2 :]) >= 3


def test_what_hangs_passes_its_turn_on(stuck: dict[str, threading.Event]) -> None:
    """Others do not wait until it is given up, though one request is worked on at a time."""

    async def run() -> tuple[tuple[str] | None, bool]:
        turns, seconds = Turns(1), 30.0

        async def take(call, stuck_seconds: float):  # type: ignore[no-untyped-def]
            ends = time.perf_counter() + seconds
            return await turns.take(call, late_at=ends, ends=ends, stuck_seconds=stuck_seconds)

        async with anyio.create_task_group() as group:
            group.start_soon(take, lambda: stuck["index"].wait(seconds), 0.01)
            await anyio.sleep(0)
            answer = await take(lambda: "quick", seconds)
            hangs_still = not stuck["index"].is_set()
            stuck["index"].set()
        turns.close()
        return answer, hangs_still

    assert anyio.run(run) == (("quick",), True)


def test_a_request_may_set_its_deadline(client: httpx.Client) -> None:
    for path in ("/v1/recommendations", "/v1/items/item-0003/similar"):
        hurried = client.get(path, headers={"Deadline-Ms": "1"})
        assert hurried.status_code == 200
        assert len(hurried.json()["items"]) == 20
        for unusable in ("soon", "0", "-5", "nan", "1e9"):
            refused = client.get(path, headers={"Deadline-Ms": unusable})
            assert refused.status_code == 422
            assert "Deadline-Ms" in refused.json()["detail"]
    paths = client.get("/openapi.json").json()["paths"]
    for path, method in (
        ("/v1/recommendations", "get"),
        ("/v1/recommendations", "post"),
        ("/v1/items/{item_id}/similar", "get"),
    ):
        assert "Deadline-Ms" in {p["name"] for p in paths[path][method]["parameters"]}
