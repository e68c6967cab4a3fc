"""With a port for administrators, the other one has nothing for them."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from served import shop_settings
from vitrina.bundle.registry import Registry
from vitrina.errors import SettingsError
from vitrina.online.access import require_keys_beyond_loopback
from vitrina.online.app import create_app
from vitrina.online.server import serve


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_what_takes_admin_is_on_its_own_port_alone(tmp_path: Path, registry: Registry) -> None:
    settings = shop_settings(tmp_path)
    port = free_port()
    serving = settings.serve.model_copy(update={"admin_port": port})
    app = create_app(settings.model_copy(update={"serve": serving}))
    statuses: dict[str, list[int]] = {}
    ready: list[dict[str, object]] = []

    def ask(address: str) -> None:

        def calls() -> None:
            with (
                httpx.Client(base_url=address, timeout=30) as public,
                httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as admin,
            ):
                for path in ("/metrics", "/docs", "/v1/users/ada/history", "/healthz", "/readyz"):
                    statuses[path] = [public.get(path).status_code, admin.get(path).status_code]
                ready.extend(client.get("/readyz").json() for client in (public, admin))
            signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=calls).start()

    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        serve(app, serving, ask)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert statuses == {
        "/metrics": [404, 200],
        "/docs": [404, 200],
        "/v1/users/ada/history": [404, 200],
        "/healthz": [200, 200],
        "/readyz": [200, 200],
    }
    assert {name: value for name, value in ready[0].items() if value} == {"status": "ready"}
    assert ready[1]["bundle"] == registry.current()


def test_an_exposed_admin_port_takes_keys(tmp_path: Path) -> None:
    settings = shop_settings(tmp_path)
    changes = {"admin_port": 9, "admin_host": "10.0.0.7"}
    exposed = settings.model_copy(update={"serve": settings.serve.model_copy(update=changes)})
    with pytest.raises(SettingsError, match=r"listens on 10\.0\.0\.7"):
        require_keys_beyond_loopback(exposed)
