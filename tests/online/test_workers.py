"""Several worker processes on one port: one that is killed is replaced, and nobody notices much."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

import served
from served import SERVER_LOG, Supervised, command_of, ids
from vitrina.bundle.registry import Registry


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Path:
    home = tmp_path_factory.mktemp("workers")
    registry = Registry(home / "bundles")
    registry.promote(registry.publish(bundle_path, metrics={}))
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Supervised]:
    server = Supervised.start(home, workers=2)
    yield server
    server.end()


eventually = partial(served.eventually, seconds=60)


def test_all_workers_answer_on_one_port_and_count_together(server: Supervised) -> None:
    def counted() -> float:
        lines = httpx.get(f"{server.client.base_url}/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith("vitrina_served_")
        )

    before = counted()
    for _ in range(20):  # a connection each, so that both workers get some
        answer = httpx.get(f"{server.client.base_url}/v1/recommendations?user_id=ada")
        assert len(ids(answer.json())) == 20
    assert counted() == before + 20
    assert 'vitrina_bundle_info{version="' in server.client.get("/metrics").text


def test_a_bundles_large_files_are_mapped_and_not_copied(server: Supervised) -> None:
    for worker in server.workers():
        mapped = Path(f"/proc/{worker}/maps").read_text()
        for name in ("items.safetensors", "index.faiss", "catalog.jsonl"):
            assert name in mapped


def test_a_killed_worker_is_replaced_and_loses_no_acknowledged_event(server: Supervised) -> None:
    before = server.workers()
    assert len(before) == 2
    url = server.client.base_url
    done, broken = threading.Event(), [0]
    sent: list[str] = []
    acknowledged: list[str] = []

    def call(work: Callable[[], None]) -> None:
        while not done.is_set():
            try:
                work()
            except httpx.TransportError:  # what the killed worker had in hand
                broken[0] += 1

    def record() -> None:
        item = f"item-{len(sent):04d}"
        sent.append(item)
        event = {"event_id": item, "user_id": "kim", "item_id": item, "event_type": "view"}
        answer = httpx.post(f"{url}/v1/events", json=event, timeout=30)
        assert answer.json()["accepted"] == 1
        acknowledged.append(item)

    def ask() -> None:
        answer = httpx.get(f"{url}/v1/recommendations?user_id=kim", timeout=30)
        assert len(ids(answer.json())) == 20

    threads = [threading.Thread(target=call, args=(work,)) for work in (record, ask)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(acknowledged) > 5)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: before[0] not in server.workers() and len(server.workers()) == 2)
        reached = len(acknowledged)
        eventually(lambda: len(acknowledged) > reached + 5)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert broken[0] <= 2, "two clients had a request each in the hands of the one that was killed"
    assert before[1] in server.workers()
    events = server.client.get("/v1/users/kim/history?limit=1000").json()["events"]
    found = [event["item_id"] for event in events]
    assert set(acknowledged) <= set(found) <= set(sent)
    assert len(set(found)) == len(found)


def test_a_worker_that_hangs_is_replaced(server: Supervised, home: Path) -> None:
    before = server.workers()
    os.kill(before[0], signal.SIGSTOP)
    eventually(lambda: before[0] not in server.workers() and len(server.workers()) == 2)
    assert before[1] in server.workers()
    assert f"Worker {before[0]} has done nothing for" in (home / SERVER_LOG).read_text()
    for _ in range(10):
        answer = httpx.get(f"{server.client.base_url}/v1/recommendations?user_id=ada")
        assert len(ids(answer.json())) == 20


def test_an_ending_server_drops_no_request(home: Path) -> None:
    server = Supervised.start(home, workers=2)
    workers = server.workers()
    url = server.client.base_url
    statuses: list[int] = []

    def ask_while_ready() -> None:  # as a load balancer does
        with httpx.Client(base_url=url, timeout=30) as client:
            while client.get("/readyz").status_code == 200:
                statuses.append(client.get("/v1/recommendations?user_id=ada").status_code)

    asking = [threading.Thread(target=ask_while_ready) for _ in range(2)]
    for thread in asking:
        thread.start()
    eventually(lambda: len(statuses) > 10)
    body = b'{"user_id": "ada", "item_id": "item-0003", "event_type": "view"}'
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=60) as slow:
        head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        slow.sendall(head.encode() + body[:9])
        server.process.terminate()
        for thread in asking:
            thread.join(timeout=60)
        assert set(statuses) == {200}
        eventually(lambda: not _listens(url.host, url.port))
        slow.sendall(body[9:])  # only now, when nobody listens any more
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert server.end() == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def _listens(host: str, port: int | None) -> bool:
    assert port is not None
    try:
        socket.create_connection((host, port), timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


def test_workers_end_with_a_supervisor_that_was_killed(server: Supervised) -> None:
    """The last one here: the server that the others have shared is no more."""
    workers = server.workers()
    server.process.kill()
    eventually(lambda: not any(command_of(str(worker)) for worker in workers))
