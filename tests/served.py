"""Real servers for tests: uvicorn in a thread of this process, or in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from vitrina.online.server import IDLE_SECONDS
from vitrina.settings import PathSettings, ServeSettings, Settings, StateSettings


def shop_settings(
    home: Path, deadline_ms: float = 10_000, state: StateSettings | None = None
) -> Settings:
    """Settings of a shop that lives in `home`; a deadline that any busy machine keeps."""
    return Settings(
        state=state or StateSettings(),
        paths=PathSettings(
            bundles=home / "bundles",
            state=home / "state.sqlite",
            catalog=home / "catalog.sqlite",
            keys=home / "keys.json",
        ),
        serve=ServeSettings(port=0, reload_seconds=0.05, drain_seconds=0, deadline_ms=deadline_ms),
    )


@contextmanager
def serving(app: FastAPI, **config: Any) -> Iterator[httpx.Client]:
    """Serve `app` on a free port, in a thread, and yield a client for it. config: of uvicorn."""
    config = {"log_level": "warning", "timeout_keep_alive": IDLE_SECONDS, **config}
    server = uvicorn.Server(uvicorn.Config(app, port=0, **config))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


_SERVE = """
import sys
from vitrina.online.app import create_app
from vitrina.online.server import serve
from vitrina.settings import Settings

settings = Settings.model_validate_json(sys.argv[1])
serve(create_app(settings), settings.serve, lambda url: print(url, flush=True))
"""


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until it is so; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@dataclass
class ServerProcess:
    """A server in a process of its own, and a client for it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    ready_seconds: float

    @classmethod
    def start(
        cls,
        home: Path,
        state: StateSettings | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        **serve: Any,
    ) -> ServerProcess:
        """Serve the shop in `home`; returns once the server says it is ready.

        environment: variables of the process beside ours; serve: settings of [serve].
        """
        settings = shop_settings(home, state=state)
        settings = settings.model_copy(update={"serve": settings.serve.model_copy(update=serve)})
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, settings.model_dump_json()],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the server did not get ready"
        ready_seconds = time.perf_counter() - started
        return cls(process, httpx.Client(base_url=url, timeout=30), ready_seconds)

    def stop(self, sent: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal; returns its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(sent)
        status = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


SERVER_LOG = "server.log"
_SETTINGS = """
[paths]
bundles = "bundles"
state = "state.sqlite"
keys = "keys.json"
[serve]
port = 0
drain_seconds = 0.5
deadline_ms = 10000
"""
# As `vitrina` does, but sooner out of patience.
_SUPERVISE = """
from vitrina.online import workers
workers.STUCK_SECONDS = 4.0
from vitrina.cli import main
main()
"""


@dataclass
class Supervised:
    """`vitrina serve`: a supervisor with its workers, whose log is SERVER_LOG."""

    process: subprocess.Popen[str]
    client: httpx.Client

    @classmethod
    def start(cls, home: Path, workers: int) -> Supervised:
        """Serve the shop in `home`; returns once all workers are ready."""
        (home / "vitrina.toml").write_text(_SETTINGS)
        with (home / SERVER_LOG).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _SUPERVISE, "serve", "--json", "--workers", str(workers)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=home,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        assert process.stdout is not None
        text = "".join(iter(process.stdout.readline, "}\n"))
        address = json.loads(text + "}")["address"]
        return cls(process, httpx.Client(base_url=address, timeout=60))

    def workers(self) -> list[int]:
        """Process ids of the workers; the supervisor has other helpers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in command_of(child)]

    def end(self) -> int:
        """Ask it to end; returns its exit status."""
        self.client.close()
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(timeout=60)


def command_of(pid: str) -> bytes:
    """The command line of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def ids(answer: dict[str, Any]) -> list[str]:
    """The item ids of a recommendation, in order."""
    return [item["item_id"] for item in answer["items"]]
