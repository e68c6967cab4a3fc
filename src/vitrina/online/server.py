"""Running the application: uvicorn, one process, one event loop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from vitrina.errors import SettingsError
from vitrina.settings import ServeSettings

SHUTDOWN_SECONDS = 5
"""How long requests in flight may take to finish after Ctrl-C or SIGTERM."""


class _AnnouncingServer(uvicorn.Server):
    """A uvicorn server that says when it listens, and where (the port may have been 0)."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def serve(app: FastAPI, settings: ServeSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `on_ready(address)` is called once requests are accepted.

    Raises SettingsError when the address cannot be listened on.
    """
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    with listener:
        _AnnouncingServer(config, on_ready).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Its protocol is named because asyncio switches Nagle's algorithm off
    only where it is: left to the default, every answer waits 40 ms for the client's delayed ACK.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Cannot listen on {host}:{port} ({error.strerror or error}). Is another server "
            f"running there? Set [serve] port, or 0 for a free one."
        ) from error
    return listener
