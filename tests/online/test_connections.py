"""Clients that are slow on purpose lose their connection; all others keep theirs."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from served import serving, shop_settings
from vitrina.online.app import create_app
from vitrina.online.connections import PatientProtocol


class Impatient(PatientProtocol):
    request_seconds = 0.3


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    app = create_app(shop_settings(tmp_path_factory.mktemp("slow")))
    with serving(app, http=Impatient) as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    assert client.base_url.port is not None
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "drip"),
    [(b"", b""), (HEAD, b"X-A: b\r\n"), (BODY, b" "), (HEAD + b"\r\n", b"\r\n")],
    ids=["says nothing", "drips headers", "drips a body", "drips line ends after a request"],
)
def test_a_client_that_never_finishes_is_let_go(
    client: httpx.Client, first: bytes, drip: bytes
) -> None:
    with connected(client) as connection:
        connection.sendall(first)
        connection.settimeout(0.1)
        deadline = time.monotonic() + 30
        while True:
            assert time.monotonic() < deadline, "it is still connected"
            try:
                connection.sendall(drip)
                if connection.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:  # closed while we were sending
                break
    assert client.get("/healthz").status_code == 200


def test_an_idle_connection_is_kept_for_the_next_request(client: httpx.Client) -> None:
    with connected(client) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)  # twice the time that a request may take
