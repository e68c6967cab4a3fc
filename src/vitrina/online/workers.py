"""Processes on one port: a supervisor starts workers, and replaces those that die or hang.

All workers accept from one listening socket, which the supervisor opens and never reads: what is
waiting when a worker dies is taken by another one, or by the one that takes its place. Each maps
the bundle's files into memory, so that there is one copy of them however many workers there are.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from ctypes import c_uint64
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from fastapi import FastAPI

from vitrina.errors import VitrinaError
from vitrina.online.server import SHUTDOWN_SECONDS, address_of, listening, serve_on
from vitrina.online.telemetry import METRICS_FOLDER, forget_process
from vitrina.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""Pause before a worker is started in the place of one that never got ready."""

STUCK_SECONDS: Final = 10.0
"""A worker whose event loop has not gone round for so long is killed and replaced."""

_LOOK_SECONDS: Final = 1.0
"""Time between two looks whether event loops go round."""

MakeApp = Callable[[Settings], FastAPI]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a worker tells once it accepts requests."""

    bundle: str | None
    problem: str | None


@dataclass(slots=True)
class _Worker:
    """rounds: of its event loop, which it counts itself, in memory that is shared. known_rounds: as
    they were at the last look. silent_seconds: for so long they have stayed the same."""

    process: BaseProcess
    news: Connection
    rounds: c_uint64
    ready: Ready | None = None
    failure: str = "it died."
    known_rounds: int = 0
    silent_seconds: float = 0.0

    def hear(self) -> None:
        """Take in what it has said so far."""
        try:
            while not self.news.closed and self.news.poll():
                said = self.news.recv()
                if isinstance(said, Ready):
                    self.ready = said
                else:
                    self.failure = said
        except EOFError:
            self.news.close()


class Supervisor:
    """`settings.serve.workers` processes that serve the app which `make_app(settings)` makes.

    make_app: a function at the top of a module, as a new process has to find it.
    """

    def __init__(self, settings: Settings, make_app: MakeApp) -> None:
        self._settings = settings
        self._make_app = make_app
        self._context = multiprocessing.get_context("spawn")  # no threads or locks of the parent's
        self._workers: list[_Worker] = []
        self._looked_at = time.monotonic()
        self._stopping = False

    def run(self, on_ready: Callable[[str, Ready], None]) -> None:
        """Serve until SIGTERM or Ctrl-C; `on_ready(address, …)` is called once all workers are.

        Raises SettingsError when the address cannot be listened on, VitrinaError when a worker
        cannot start.
        """
        serve = self._settings.serve
        with (
            listening(serve) as listeners,
            _metrics_folder() if serve.workers > 1 else nullcontext(),
            _told_by_signals() as told,
        ):
            try:
                for _ in range(serve.workers):
                    self._start(listeners)
                self._until_ready(told)
                if not self._stopping:
                    on_ready(
                        address_of(listeners[0], serve), self._workers[0].ready or Ready(None, None)
                    )
                while not self._stopping:
                    self._watch(told)
                    self._kill_the_stuck()
                    self._replace_the_dead(listeners)
            finally:
                for listener in listeners:
                    listener.close()  # before the workers, lest it queue what nobody will answer
                self._stop()

    def _start(self, listeners: Sequence[socket.socket]) -> None:
        news, theirs = self._context.Pipe(duplex=False)
        rounds = self._context.RawValue(c_uint64, 0)
        process = self._context.Process(
            target=_work,
            args=(self._make_app, self._settings, listeners, theirs, rounds),
            name="vitrina",
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, news, rounds))

    def _until_ready(self, told: Connection) -> None:
        while not self._stopping and any(worker.ready is None for worker in self._workers):
            self._watch(told)
            for worker in self._workers:
                if not worker.process.is_alive():
                    worker.hear()
                    raise VitrinaError(f"A worker could not start: {worker.failure}")

    def _watch(self, told: Connection) -> None:
        """Wait until a worker says something or ends, a signal arrives, or it is time to look."""
        news = [worker.news for worker in self._workers if not worker.news.closed]
        ends = [worker.process.sentinel for worker in self._workers]
        found = wait([told, *news, *ends], _LOOK_SECONDS)
        self._stopping |= told in found
        for worker in self._workers:
            if worker.news in found:
                worker.hear()

    def _kill_the_stuck(self) -> None:
        """End workers that hang: stopped, or with an event loop that something blocks."""
        now = time.monotonic()
        # If everything was stopped, this process too, that is no worker's fault.
        passed = min(now - self._looked_at, _LOOK_SECONDS)
        self._looked_at = now
        for worker in self._workers:
            rounds = worker.rounds.value
            if rounds != worker.known_rounds or worker.ready is None:
                worker.known_rounds, worker.silent_seconds = rounds, 0.0
                continue
            worker.silent_seconds += passed
            if worker.silent_seconds > STUCK_SECONDS:
                log.error(
                    "Worker %d has done nothing for %.0f s and is killed.",
                    worker.process.pid,
                    worker.silent_seconds,
                )
                worker.process.kill()
                worker.process.join()

    def _replace_the_dead(self, listeners: Sequence[socket.socket]) -> None:
        for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
            worker.process.join()
            log.error(
                "Worker %d ended (exit code %s); another takes its place.",
                worker.process.pid,
                worker.process.exitcode,
            )
            if METRICS_FOLDER in os.environ:
                forget_process(worker.process.pid or 0)
            worker.news.close()
            self._workers.remove(worker)
            if worker.ready is None:
                time.sleep(RETRY_SECONDS)
            self._start(listeners)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._settings.serve.drain_seconds + 2 * SHUTDOWN_SECONDS
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
            if worker.process.is_alive():
                log.error("Worker %d did not end in time and is killed.", worker.process.pid)
                worker.process.kill()
                worker.process.join()


def _work(
    make_app: MakeApp,
    settings: Settings,
    listeners: Sequence[socket.socket],
    news: Connection,
    rounds: c_uint64,
) -> None:
    """A worker's life."""
    os.setsid()  # Ctrl-C in a terminal reaches the supervisor alone, which then asks its workers
    threading.Thread(target=_end_with_the_supervisor, name="vitrina-orphan", daemon=True).start()
    try:
        app = make_app(settings)
        releases = app.state.service.releases

        def on_ready() -> None:
            news.send(Ready(releases.serving, releases.problem))

        def on_round() -> None:
            rounds.value += 1

        serve_on(listeners, app, settings.serve, on_ready, on_round)
    except VitrinaError as error:
        news.send(str(error))
        raise SystemExit(1) from None


def _end_with_the_supervisor() -> None:
    """Nobody restarts or stops the workers of a supervisor that was killed, so they end too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """A folder where the workers' metrics meet, told to them by the environment."""
    with tempfile.TemporaryDirectory(prefix="vitrina-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]


@contextmanager
def _told_by_signals() -> Iterator[Connection]:
    """A connection that has something to read once SIGTERM or SIGINT has arrived."""
    told, tell = multiprocessing.Pipe(duplex=False)

    def note(*_: Any) -> None:
        tell.send(None)

    before = {sent: signal.signal(sent, note) for sent in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)
        told.close()
        tell.close()
