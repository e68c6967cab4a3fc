"""The server as a process: what it imports, how fast it is ready, what survives kill -9."""

from __future__ import annotations

import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from served import ServerProcess, shop_settings
from vitrina.errors import SettingsError
from vitrina.online.app import create_app
from vitrina.online.server import serve
from vitrina.settings import ServeSettings


@pytest.mark.usefixtures("registry")
def test_kill_9_after_the_acknowledgement_loses_nothing(tmp_path: Path) -> None:
    event = {"event_id": "e1", "user_id": "ada", "item_id": "item-0003", "event_type": "view"}
    server = ServerProcess.start(tmp_path)
    before = server.client.get("/v1/recommendations?user_id=ada&shelf=discover").json()
    assert server.client.post("/v1/events", json=event).json()["accepted"] == 1
    server.stop(signal.SIGKILL)

    again = ServerProcess.start(tmp_path)
    try:
        history = again.client.get("/v1/users/ada/history").json()["events"]
        after = again.client.get("/v1/recommendations?user_id=ada&shelf=discover").json()
        sent_again = again.client.post("/v1/events", json=event).json()
    finally:
        again.stop()
    assert [entry["item_id"] for entry in history] == ["item-0003"]
    assert [item["item_id"] for item in after["items"]] != [
        item["item_id"] for item in before["items"]
    ]
    assert sent_again == {"accepted": 0, "duplicates": 1, "unknown_items": 0}


@pytest.mark.usefixtures("registry")
def test_a_server_is_soon_ready_and_ends_when_asked(tmp_path: Path) -> None:
    server = ServerProcess.start(tmp_path)
    assert server.client.get("/readyz").json()["status"] == "ready"
    assert server.ready_seconds < 15  # under 1 s on an idle machine; this one may be busy
    assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)


@pytest.mark.usefixtures("registry")
def test_an_answer_does_not_wait_for_the_clients_acknowledgement(tmp_path: Path) -> None:
    server = ServerProcess.start(tmp_path)
    try:
        seconds = []
        for _ in range(21):
            started = time.perf_counter()
            server.client.get("/v1/recommendations?user_id=ada")
            seconds.append(time.perf_counter() - started)
    finally:
        server.stop()
    assert statistics.median(seconds) < 0.03  # Nagle's algorithm and delayed ACKs make it 0.04


@pytest.mark.usefixtures("registry")
def test_more_connections_are_open_than_the_usual_limit_of_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    usual = 64 + len(list(Path("/proc/self/fd").iterdir()))  # what this process has open, and more
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, hard))
    try:
        server = ServerProcess.start(tmp_path)  # which inherits the limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    url = server.client.base_url
    assert url.port is not None
    try:
        with ExitStack() as stack:
            for _ in range(usual + 100):
                stack.enter_context(socket.create_connection((url.host, url.port), timeout=60))
            assert server.client.get("/v1/recommendations").status_code == 200
    finally:
        server.stop()


SERVING_IMPORTS = """
import sys
from vitrina.online import app, server
from vitrina.studio import app
for name in "torch duckdb pandas pyarrow narwhals scipy vitrina.lake vitrina.towers".split():
    assert name not in sys.modules, f"serving imports {name}"
"""


def test_a_serving_process_imports_no_training_stack() -> None:
    subprocess.run([sys.executable, "-c", SERVING_IMPORTS], check=True)


def test_an_address_in_use_is_a_sentence(tmp_path: Path) -> None:
    app = create_app(shop_settings(tmp_path))
    addresses: list[str] = []

    def listening(address: str) -> None:
        addresses.append(address)
        taken = ServeSettings(port=int(address.rpartition(":")[2]))
        with pytest.raises(SettingsError, match=r"Cannot listen on 127\.0\.0\.1.*another server"):
            serve(app, taken, addresses.append)
        signal.raise_signal(signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn passes the signal on
    try:
        serve(app, ServeSettings(port=0, drain_seconds=0), listening)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert len(addresses) == 1
