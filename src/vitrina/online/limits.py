"""How much is taken on: so many requests a second of one client, so many at once of all."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitrina.online.access import KEY_OF_SCOPE
from vitrina.online.keys import ApiKey
from vitrina.online.load import Load
from vitrina.online.problems import Problem, problem_response
from vitrina.online.telemetry import Telemetry
from vitrina.settings import ServeSettings

BURST_SECONDS: Final = 5.0
"""Requests of so many seconds may come at once."""

CLIENTS_KEPT: Final = 50_000
"""Clients whose last requests are remembered; who is forgotten begins with a full burst."""


_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class TokenBuckets:
    """A token bucket for each client: `rate` tokens a second, `burst` at most.

    Kept as one number a client (the generic cell rate algorithm): when its bucket is full again.
    For one thread; clock: seconds, monotonic.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        clients: int = CLIENTS_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / rate
        self._burst_seconds = max(burst, 1.0) / rate
        self._clients = clients
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: Hashable) -> float:
        """Take a token. Returns 0, or how many seconds it is until there will be one."""
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + self._interval
        wait = full_at - now - self._burst_seconds
        if wait > 1e-9:
            return wait
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._clients:
            self._full_at.popitem(last=False)
        return 0.0


class Admission:
    """ASGI middleware that puts off (429, Retry-After) what is more than it can take on.

    Stands behind `AccessControl`, which says whose request it is. What is put off costs little:
    its body is not read.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, load: Load, telemetry: Telemetry
    ) -> None:
        self._app = app
        self._load = load
        self._refused = telemetry.refused
        rate = settings.key_requests_per_second
        self._of_keys = None if rate is None else _buckets(rate)
        self._of_addresses = _buckets(settings.browser_requests_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            self._require_rate(scope)
            self._require_room(scope)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        load = self._load
        working = scope["method"] in _WITHOUT_BODY
        load.in_flight += working

        async def receive_and_count() -> Message:
            # A request counts from its last byte on: a client that is slow to send takes no place.
            nonlocal working
            message = await receive()
            if not working and not message.get("more_body", False):
                working = True
                load.in_flight += 1
            return message

        try:
            await self._app(scope, receive if working else receive_and_count, send)
        finally:
            if working:
                load.in_flight -= 1

    def _require_rate(self, scope: Scope) -> None:
        key: ApiKey | None = scope.get(KEY_OF_SCOPE)
        if key is None:
            return
        if key.is_public:  # each shopper's browser has the same one
            address = scope["client"][0] if scope["client"] else ""
            wait = self._of_addresses.take((key.key_id, address))
        elif self._of_keys is not None:
            wait = self._of_keys.take(key.key_id)
        else:
            return
        if wait:
            self._refused.labels("rate").inc()
            raise _later(f"The key '{key.name}' is used more often than its limit allows.", wait)

    def _require_room(self, scope: Scope) -> None:
        is_event = scope["path"] == "/v1/events"
        if self._load.full or (is_event and self._load.overloaded):
            self._refused.labels("load").inc()
            raise _later("The server is at its limit.", 1.0)


def _buckets(rate: float) -> TokenBuckets:
    return TokenBuckets(rate, rate * BURST_SECONDS)


def _later(detail: str, seconds: float) -> Problem:
    wait = max(math.ceil(seconds), 1)
    return Problem(429, f"{detail} Ask again in {wait} s.", headers={"Retry-After": str(wait)})
