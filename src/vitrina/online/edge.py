"""What every answer carries: the request's id, and headers that tell browsers to be careful."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitrina.online.request_id import REQUEST_ID_HEADER, current_request_id, request_id_of

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
_NOT_TO_KEEP: Final = (b"cache-control", b"no-store")
"""Answers are about a person, unless they say themselves how long they hold."""
_TLS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class Edge:
    """ASGI middleware that names the request and adds headers to its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                headers.append((REQUEST_ID_HEADER, request_id.encode()))
                headers += (header for header in _ALWAYS if header[0] not in names)
                if _NOT_TO_KEEP[0] not in names:
                    headers.append(_NOT_TO_KEEP)
                if scope["scheme"] == "https":
                    headers.append(_TLS_ONLY)
            await send(message)

        token = current_request_id.set(request_id)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            current_request_id.reset(token)
