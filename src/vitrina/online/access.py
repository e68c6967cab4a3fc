"""Who may call which route: API keys checked before anything else of a request is looked at.

Without keys the service is open, and then `require_keys_beyond_loopback` keeps it on this machine.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from vitrina.errors import SettingsError
from vitrina.online.keys import (
    ADMIN,
    CATALOG_WRITE,
    EVENTS_WRITE,
    RECOMMEND_READ,
    ApiKey,
    KeyRing,
    WatchedKeys,
)
from vitrina.online.openapi import refusals
from vitrina.online.problems import Problem, problem_response
from vitrina.settings import Settings

KEY_OF_SCOPE: Final = "vitrina.key"
"""Where the ASGI scope holds the `ApiKey` of a request; absent while the service is open."""

_ANYBODY: Final = frozenset[str]()
_ADMIN: Final = frozenset({ADMIN})
_ANY: Final = "any method"
_EVENTS: Final = "/v1/events"

_RULES: Final = (
    ("POST", _EVENTS, frozenset({EVENTS_WRITE})),
    (_ANY, "/v1/recommendations", frozenset({RECOMMEND_READ})),
    ("GET", "/v1/items", frozenset({RECOMMEND_READ})),
    (_ANY, "/v1/items", frozenset({CATALOG_WRITE})),
    # Joins a visitor's history to a shopper's: for the shop's own servers, and so for no key that
    # stands in a page.
    ("POST", "/v1/identities", frozenset({EVENTS_WRITE, RECOMMEND_READ})),
    (_ANY, "/healthz", _ANYBODY),
    (_ANY, "/readyz", _ANYBODY),
    ("GET", "/beacon.js", _ANYBODY),
)
"""Method, path (with all below it) and the scopes it takes; the first that fits counts.

Whatever is not listed takes `admin`: a new route is closed until somebody decides otherwise.
"""


def scopes_needed(method: str, path: str) -> frozenset[str]:
    """The scopes that a request needs, all of them; empty: none, not even a key."""
    for known, prefix, scopes in _RULES:
        if path.startswith(prefix) and (known is _ANY or known == method):
            rest = path[len(prefix) : len(prefix) + 1]
            if rest in ("", "/", ":"):
                return scopes
    return _ADMIN


class AccessControl:
    """ASGI middleware that lets a request pass if its key has the scopes of the route.

    admin_port: the only one that routes with the scope admin are answered on; None: any. origins:
    those whose pages may call the service, beside its own. Browsers keep other pages from reading
    answers, but send their events all the same: those are refused here.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: WatchedKeys,
        origins: frozenset[str] = frozenset(),
        admin_port: int | None = None,
    ) -> None:
        self._app = app
        self._admin_port = admin_port
        self._keys = keys
        self._origins = {origin.encode() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            needed = scopes_needed(scope["method"], scope["path"])
            if needed:
                try:
                    if needed is _ADMIN and not on_admin_port(scope, self._admin_port):
                        raise Problem(404, "Not Found")
                    if scope["method"] not in ("GET", "HEAD"):
                        self._require_known_origin(scope)
                    key = _admitted(scope, needed, self._keys.ring())
                except Problem as problem:
                    await problem_response(problem)(scope, receive, send)
                    return
                if key is not None:
                    scope[KEY_OF_SCOPE] = key
        await self._app(scope, receive, send)

    def _require_known_origin(self, scope: Scope) -> None:
        origin = host = b""
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        if origin and origin not in self._origins and origin.partition(b"://")[2] != host:
            if b"*" in self._origins:
                return
            raise Problem(
                403,
                f"Pages of {origin.decode('latin-1')[:200]} may not call this service. If they "
                f"should, name them in [serve] cors_origins.",
            )


def on_admin_port(scope: Scope, admin_port: int | None) -> bool:
    """Whether a request came in where administrators may ask; None: everywhere."""
    return admin_port is None or scope["server"][1] == admin_port


def require_keys_beyond_loopback(settings: Settings) -> None:
    """Raise SettingsError where a service without keys would be open to other machines."""
    serve, keys = settings.serve, settings.paths.keys
    hosts = [serve.host] if serve.admin_port is None else [serve.host, serve.admin_host]
    exposed = [host for host in hosts if not is_loopback(host)]
    if exposed and not keys.exists():
        raise SettingsError(
            f"[serve] listens on {exposed[0]}, and there are no API keys in {keys}: whoever "
            f"reaches this machine could read shoppers' histories and write events. Make a key "
            f"first, 'vitrina keys make website --scope events:write --scope recommend:read', or "
            f"listen on 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether an address, or a name of one, is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def document_access(app: FastAPI) -> None:
    """Let the app's OpenAPI say which scopes each route takes, and how keys are refused."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {})["securitySchemes"] = {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key of `vitrina keys make`, if any has been made.",
                }
            }
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if scopes := scopes_needed(method.upper(), path):
                        operation["security"] = [{"key": sorted(scopes)}]
                        operation["responses"] |= refusals(401, 403, 429)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _admitted(scope: Scope, needed: frozenset[str], ring: KeyRing | None) -> ApiKey | None:
    """The request's key, or None where no keys have been made. Raises Problem (401, 403)."""
    if ring is None:
        _require_loopback_name(scope)
        return None
    presented, in_address = _presented(scope)
    if presented is None:
        raise _unauthorized(scope, "This needs an API key: send 'Authorization: Bearer KEY'.")
    key = ring.find(presented)
    if key is None:
        raise _unauthorized(scope, "The API key is not known here, or has expired or been revoked.")
    if in_address and not key.is_public:
        raise Problem(
            403,
            f"The key '{key.name}' can do more than write events, so it does not belong into an "
            f"address, which logs keep: send it as 'Authorization: Bearer KEY', and rotate it.",
        )
    if not key.may(needed):
        raise Problem(
            403,
            f"The key '{key.name}' has the scopes {', '.join(key.scopes)}; this needs "
            f"{' and '.join(sorted(needed))}.",
        )
    return key


def _presented(scope: Scope) -> tuple[str | None, bool]:
    """The key sent along, and whether it stands in the address, as a beacon has to send it."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, sent = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                return sent.strip(), False
            if kind.lower() == "basic":  # a browser's own prompt: the key is the password
                return _password(sent), False
    if scope["path"] == _EVENTS and b"key=" in scope["query_string"]:
        keys = parse_qs(scope["query_string"].decode("latin-1")).get("key")
        return (keys[0], True) if keys else (None, True)
    return None, False


def _password(sent: str) -> str | None:
    try:
        return base64.b64decode(sent, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unauthorized(scope: Scope, detail: str) -> Problem:
    """401. Pages that people open ask their browser for a key, programs are told of bearers."""
    scheme = "Bearer" if scope["path"].startswith("/v1/") else "Basic"
    return Problem(401, detail, headers={"WWW-Authenticate": f'{scheme} realm="Vitrina"'})


def _require_loopback_name(scope: Scope) -> None:
    """Refuse (403) what was sent to another name than this machine's own.

    A page from anywhere can make a name point to 127.0.0.1 and have its visitor's browser ask
    (DNS rebinding); and a proxy that passes a public name on would open the service to the world.
    """
    for name, value in scope["headers"]:
        if name == b"host" and not _names_loopback(value):
            raise Problem(
                403,
                "No API key has been made, so this server answers to names of its own machine "
                "only, such as 127.0.0.1. Make a key with 'vitrina keys make'.",
            )


@lru_cache(maxsize=16)
def _names_loopback(host: bytes) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host.decode('latin-1')}").hostname or "")
    except ValueError:
        return False
