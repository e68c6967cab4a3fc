"""The log of a server: lines for people, or JSON lines for programs; never about persons.

No line names a shopper, a session, an item that somebody looked at, or an address. What ties the
lines of a request together is its id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

import orjson

from vitrina.online.request_id import current_request_id

SECONDS_APART: Final = 10.0
"""Between two lines that say the same of many requests."""


class Sparingly:
    """Logs one line of each kind in SECONDS_APART, and with it how many it has held back since.

    For what a fault or a crowd does to every request. Kinds are few; a line's text may differ from
    the next one's of its kind. Safe to use from many threads. clock: seconds, monotonic.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._guard = threading.Lock()
        self._next: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def log(self, level: int, kind: str, line: str, exc_info: bool = False) -> bool:
        """Log a line, unless one of its kind has just been logged; whether it was."""
        with self._guard:
            now = self._clock()
            if now < self._next.get(kind, now):
                self._held_back[kind] += 1
                return False
            self._next[kind] = now + SECONDS_APART
            held_back = self._held_back.pop(kind, 0)
        more = f" {held_back:,} more like this were not logged." if held_back else ""
        self._logger.log(level, "%s%s", line, more, exc_info=exc_info)
        return True


class _Text(logging.Formatter):
    """2026-01-05 10:15:00,123 WARNING [request id] message"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(request)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        request_id = current_request_id.get()
        record.request = f"[{request_id}] " if request_id else ""
        return super().format(record)


class _Json(logging.Formatter):
    """One JSON object a line: at, level, logger, message; request_id and error if there are any."""

    def format(self, record: logging.LogRecord) -> str:
        content = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id.get():
            content["request_id"] = request_id
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return orjson.dumps(content).decode()


def log_handler(form: Literal["text", "json"]) -> logging.Handler:
    """A handler that writes to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    return handler


def configure_logging(form: Literal["text", "json"]) -> None:
    """Send the log of this process to stderr: what Vitrina does, and warnings of its libraries."""
    logging.basicConfig(handlers=[log_handler(form)], force=True)
    logging.getLogger("vitrina").setLevel(logging.INFO)
