"""An end to waiting for a server that says nothing: a stopped process, a network that swallows.

A blocking call of a client library cannot be interrupted from outside, but its connection can be
shut down; whoever waits for an answer is then told that there will be none.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final

LOOK_SECONDS: Final = 0.25
"""Time between two looks whether anybody has waited too long."""


class Watchdog:
    """Shuts down the connections of those who have waited too long. Safe to use from many threads.

    Its thread begins with the first who wants to be watched.
    """

    def __init__(self) -> None:
        self._watched: set[Watch] = set()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watching(self, fileno: int, seconds: float) -> Watch:
        """A context for work that waits for a socket `seconds` at most.

        The socket of one that takes longer is shut down; whatever that raises becomes TimeoutError.
        """
        return Watch(self, fileno, seconds)

    def close(self) -> None:
        """End the thread; nobody is watched any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def add(self, watch: Watch) -> None:
        """Begin to watch."""
        with self._guard:
            self._watched.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="vitrina-watchdog", daemon=True
                )
                self._thread.start()

    def remove(self, watch: Watch) -> None:
        """Watch no more; the socket is not touched after this."""
        with self._guard:
            self._watched.discard(watch)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            with self._guard:
                for watch in self._watched:
                    if now > watch.until and not watch.ended:
                        watch.end()


class Watch:
    """One who waits. ended: whether it took too long."""

    __slots__ = ("_dog", "_seconds", "_socket", "ended", "until")

    def __init__(self, dog: Watchdog, fileno: int, seconds: float) -> None:
        self._dog = dog
        self._seconds = seconds
        self.ended = False
        self.until = 0.0
        # A duplicate: should the client close its own, its number may soon be somebody else's.
        self._socket = socket.fromfd(fileno, socket.AF_INET, socket.SOCK_STREAM)

    def __enter__(self) -> None:
        self.until = time.monotonic() + self._seconds
        self._dog.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._dog.remove(self)
        self._socket.close()
        if self.ended and isinstance(error, Exception):
            raise TimeoutError(f"it did not answer within {self._seconds:g} s") from error

    def end(self) -> None:
        """Shut the connection down, in both directions."""
        self.ended = True
        with suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)
