"""Running the application in this process: uvicorn, one event loop, and a quiet end."""

from __future__ import annotations

import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from vitrina.errors import SettingsError
from vitrina.online.connections import PatientProtocol
from vitrina.settings import ServeSettings

SHUTDOWN_SECONDS = 5
"""How long requests in flight may take to finish once no new ones are accepted."""

IDLE_SECONDS = 75
"""How long a connection without a request stays open: longer than the 60 s of usual load balancers,
so that it is the balancer that closes, and never just as it sends a request."""

BACKLOG = 2048


class _Server(uvicorn.Server):
    """A uvicorn server that says when it listens, and that others have time to see it going.

    After SIGTERM it goes on serving for `drain_seconds`: /readyz says 503, so that load balancers
    look elsewhere, and every answer asks its client to close the connection. Only then does it
    stop to listen. A second SIGTERM, or Ctrl-C, ends it without that wait.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: FastAPI,
        drain_seconds: float,
        on_ready: Callable[[], None],
        on_round: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service = app.state.service
        self._drain_seconds = drain_seconds
        self._on_ready = on_ready
        self._on_round = on_round
        self._drained_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self._drained_at is None:
            self._service.draining = True
            self._drained_at = time.monotonic() + self._drain_seconds
            closing = (b"connection", b"close")
            self.config.encoded_headers.append(closing)
            self.server_state.default_headers = [*self.server_state.default_headers, closing]
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        self._on_round()
        if self._drained_at is not None and time.monotonic() >= self._drained_at:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: FastAPI, settings: ServeSettings, on_ready: Callable[[str], None]) -> None:
    """Serve an app of `create_app` in this process until SIGTERM, or KeyboardInterrupt by Ctrl-C.

    `on_ready(address)` is called once requests are accepted. Raises SettingsError when the
    address cannot be listened on.
    """
    with listening(settings) as listeners:
        serve_on(listeners, app, settings, lambda: on_ready(address_of(listeners[0], settings)))


def serve_on(
    listeners: Sequence[socket.socket],
    app: FastAPI,
    settings: ServeSettings,
    on_ready: Callable[[], None],
    on_round: Callable[[], None] = lambda: None,
) -> None:
    """`serve` on sockets that listen. Raises SettingsError for a certificate it cannot use.

    on_round: called ten times a second by the event loop, while it goes round.
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_config=None,  # uvicorn's warnings go where ours do
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TLS cannot be spoken with {settings.tls_certificate} and {settings.tls_key} "
            f"({error}). [serve] takes a certificate with its chain, and its key, both as PEM."
        ) from error
    _allow_many_connections()
    _Server(config, app, settings.drain_seconds, on_ready, on_round).run(sockets=list(listeners))


def _allow_many_connections() -> None:
    """Each connection is an open file, and 1,024 are usual: take as many as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def address_of(listener: socket.socket, settings: ServeSettings) -> str:
    """The URL of a listening socket, whose port may have been 0."""
    scheme = "http" if settings.tls_certificate is None else "https"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def listening(settings: ServeSettings) -> Iterator[Sequence[socket.socket]]:
    """The sockets to serve on: that of `port`, then that of `admin_port`, if there is one."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(settings.host, settings.port))]
        if settings.admin_port is not None:
            listeners.append(stack.enter_context(_listen(settings.admin_host, settings.admin_port)))
        yield listeners


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Its protocol is named because asyncio switches Nagle's algorithm off
    only where it is: left to the default, every answer waits 40 ms for the client's delayed ACK.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Cannot listen on {host}:{port} ({error.strerror or error}). Is another server "
            f"running there? Set another port in [serve], or 0 for a free one."
        ) from error
    return listener
