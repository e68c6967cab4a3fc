"""Connections that do not wait for ever: a client has so long to send a request, and no longer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS: Final = 10.0
"""Time from a request's first byte (or from the connection) to its last."""

GRACE_SECONDS: Final = 0.25
"""How long an ending server waits for the first request of a connection made just before."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which has a limit for idle connections only, with one for slow clients.

    Without it, a client that sends a byte now and then (slow loris) keeps its connection, and a
    place in the server, for as long as it likes. A request that arrives at once, as nearly all
    do, costs no timer.
    """

    request_seconds: float = REQUEST_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._complete = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.request_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        self._complete = False
        super().data_received(data)
        if self._complete:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.request_seconds, self._give_up)

    def on_message_complete(self) -> None:
        self._complete = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """Called when the server ends: a connection just made still gets its first answer."""
        if self.cycle is None:
            self.loop.call_later(GRACE_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
