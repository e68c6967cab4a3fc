"""API keys: made, found, rotated and revoked; what each route takes; what is refused, and how."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import served
from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.errors import KeysError, SettingsError
from vitrina.online import keys as keys_module
from vitrina.online.access import require_keys_beyond_loopback, scopes_needed
from vitrina.online.app import create_app
from vitrina.online.keys import SCOPES, KeyFile, KeyRing
from vitrina.settings import ServeSettings
from vitrina.studio.app import mount_studio

keys_module.LOOK_SECONDS = 0.05  # type: ignore[misc]

EVENT = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Path:
    """A shop with a promoted bundle, and a key a scope, named after it."""
    home = tmp_path_factory.mktemp("locked")
    settings = shop_settings(home)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    return home


@pytest.fixture(scope="module")
def key_file(home: Path) -> KeyFile:
    return KeyFile(shop_settings(home).paths.keys)


@pytest.fixture(scope="module")
def secrets(key_file: KeyFile) -> dict[str, str]:
    """A key for each scope alone."""
    return {scope: key_file.make(scope, [scope])[1] for scope in SCOPES}


@pytest.fixture(scope="module")
def app(home: Path, secrets: dict[str, str]) -> FastAPI:
    app = create_app(shop_settings(home))
    mount_studio(app)
    return app


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serving(app) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


eventually = partial(served.eventually, seconds=30)


CALLS = [
    ("POST", "/v1/events", {"events:write"}),
    ("GET", "/v1/recommendations", {"recommend:read"}),
    ("POST", "/v1/recommendations", {"recommend:read"}),
    ("GET", "/v1/items/item-0003", {"recommend:read"}),
    ("GET", "/v1/items/item-0003/similar", {"recommend:read"}),
    ("GET", "/v1/users/ada/history", set()),
    ("GET", "/v1/users/ada/embedding", set()),
    ("GET", "/metrics", set()),
    ("GET", "/docs", set()),
    ("GET", "/openapi.json", set()),
    ("GET", "/", set()),
]


@pytest.mark.parametrize(("method", "path", "scopes"), CALLS)
def test_each_route_opens_to_its_scope_and_to_admin(
    client: httpx.Client, secrets: dict[str, str], method: str, path: str, scopes: set[str]
) -> None:
    body = {"json": EVENT} if path == "/v1/events" else {"json": {}} if method == "POST" else {}
    for scope, secret in secrets.items():
        answer = client.request(method, path, headers=bearer(secret), **body)  # type: ignore[arg-type]
        if scope in scopes | {"admin"}:
            assert answer.status_code == 200, (scope, answer.text)
        else:
            assert answer.status_code == 403
            assert answer.headers["content-type"] == "application/problem+json"
            assert f"'{scope}' has the scopes {scope}; this needs" in answer.json()["detail"]
    assert client.request(method, path, **body).status_code == 401  # type: ignore[arg-type]


def test_load_balancers_need_no_key(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_route_that_nobody_listed_takes_admin() -> None:
    for path in ("/v1/anything", "/v1/eventsandmore", "/v1/users/x/export", "/healthzz", "//"):
        assert scopes_needed("GET", path) == {"admin"}
    assert scopes_needed("GET", "/v1/events") == {"admin"}
    assert scopes_needed("POST", "/v1/recommendations:batch") == {"recommend:read"}


def test_the_description_says_what_each_route_takes(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            needed = scopes_needed(method.upper(), path)
            expected = [{"key": sorted(needed)}] if needed else None
            assert operation.get("security") == expected, path
            assert ("401" in operation["responses"]) == bool(needed)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer nothing",
        "Bearer vtr_00000000_AAAA",
        "Basic !!",
        "Basic bm9ib2R5",
        "Digest x",
    ],
)
def test_what_is_no_key_is_a_401_that_says_how(client: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    refused = client.get("/v1/recommendations", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="Vitrina"'
    assert refused.json()["title"] == "Unauthorized"


def test_a_browser_is_asked_for_a_key_and_shows_the_page(
    client: httpx.Client, secrets: dict[str, str]
) -> None:
    assert client.get("/").headers["www-authenticate"] == 'Basic realm="Vitrina"'
    password = base64.b64encode(f"me:{secrets['admin']}".encode()).decode()
    assert "Buy again" in client.get("/", headers={"Authorization": f"Basic {password}"}).text


def test_a_key_in_an_address_is_taken_of_beacons_only(
    client: httpx.Client, key_file: KeyFile, secrets: dict[str, str]
) -> None:
    both = key_file.make("both", ["events:write", "recommend:read"])[1]
    eventually(lambda: client.get("/v1/recommendations", headers=bearer(both)).status_code == 200)
    beacon = {"key": secrets["events:write"]}
    assert client.post("/v1/events", params=beacon, json=EVENT).status_code == 200
    refused = client.post("/v1/events", params={"key": both}, json=EVENT)
    assert refused.status_code == 403
    assert "rotate it" in refused.json()["detail"]
    for key in (both, secrets["recommend:read"]):
        assert client.get("/v1/recommendations", params={"key": key}).status_code == 401


def test_a_rotation_stops_nobody_and_a_revocation_is_soon_known(
    client: httpx.Client, key_file: KeyFile
) -> None:
    def status(secret: str) -> int:
        return client.get("/v1/recommendations", headers=bearer(secret)).status_code

    _, old = key_file.make("rotating", ["recommend:read"])
    eventually(lambda: status(old) == 200)
    _, new = key_file.rotate("rotating", timedelta(hours=1))
    while status(new) != 200:  # until the server has noticed, and after
        assert status(old) == 200
    assert status(old) == 200
    assert key_file.revoke("rotating") == 2
    eventually(lambda: status(old) == status(new) == 401)


def test_an_old_key_ends_with_the_overlap(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    first, old = file.make("web", ["events:write", "recommend:read"])
    second, new = file.rotate("web", timedelta())
    ring = KeyRing(file.read())
    assert ring.find(old) is None
    assert ring.find(new) == second
    assert second.scopes == first.scopes
    file.make("other", ["admin"])
    assert [key.name for key in file.read()] == ["web", "other"], "what is over is dropped"


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    _, secret = file.make("web", ["admin"])
    text = file.path.read_text()
    assert secret not in text
    assert secret.rpartition("_")[2] not in text
    assert len(secret) > 50


def test_names_that_do_not_fit_are_sentences(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.make("web", ["admin"])
    with pytest.raises(KeysError, match="'vitrina keys rotate web'"):
        file.make("web", ["admin"])
    for change in (file.revoke, lambda name: file.rotate(name, timedelta())):
        with pytest.raises(KeysError, match=r"no key .app.\. There are: web"):
            change("app")  # type: ignore[operator]


@given(st.text(max_size=100))
def test_no_other_text_is_the_key(text: str) -> None:
    key, secret = keys_module._new_key("web", ("admin",))
    ring = KeyRing([key])
    assert ring.find(secret) == key
    for other in (text, secret + text if text else "", f"vtr_{key.key_id}_{text}", secret[:-1]):
        assert ring.find(other) is None


def test_a_file_that_is_damaged_or_gone_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", -1.0)
    file = KeyFile(tmp_path / "keys.json")
    _, secret = file.make("web", ["admin"])
    watched = keys_module.WatchedKeys(file.path)
    file.path.write_text("{")
    ring = watched.ring()
    assert ring is not None
    assert ring.find(secret), "what was known holds on"
    file.path.unlink()
    ring = watched.ring()
    assert ring is not None, "never open again"
    assert ring.find(secret) is None
    file.path.write_text('{"keys": [{"name": "web"}]}')
    with pytest.raises(KeysError, match="is no file of keys"):
        keys_module.WatchedKeys(file.path)


def test_without_keys_nothing_but_this_machine_is_answered(tmp_path: Path) -> None:
    settings = shop_settings(tmp_path)
    with serving(create_app(settings)) as client:
        port = client.base_url.port
        for host in ("127.0.0.1", "localhost", f"localhost:{port}", "[::1]:1"):
            answer = client.get("/v1/users/ada/history", headers={"Host": host})
            assert answer.status_code == 200, host
        for host in ("shop.example", "shop.example:80", "127.0.0.1.nip.io", "10.0.0.7", "[", ""):
            refused = client.get("/v1/users/ada/history", headers={"Host": host})
            assert refused.status_code == 403, host
        assert client.get("/readyz", headers={"Host": "10.0.0.7"}).status_code == 503
        KeyFile(settings.paths.keys).make("web", ["admin"])
        eventually(lambda: client.get("/v1/users/ada/history").status_code == 401)


def test_without_keys_no_address_that_others_reach_is_listened_on(tmp_path: Path) -> None:
    settings = shop_settings(tmp_path)
    for host in ("127.0.0.1", "::1", "localhost"):
        require_keys_beyond_loopback(
            settings.model_copy(update={"serve": ServeSettings(host=host)})
        )
    exposed = settings.model_copy(update={"serve": ServeSettings(host="0.0.0.0")})
    with pytest.raises(SettingsError, match="'vitrina keys make website"):
        require_keys_beyond_loopback(exposed)
    KeyFile(settings.paths.keys).make("web", ["admin"])
    require_keys_beyond_loopback(exposed)
