"""Conditional reads (RFC 9110): what a client has already is not sent again."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from fastapi import Request, Response

IF_NONE_MATCH: Final[tuple[str, dict[str, Any], str]] = (
    "If-None-Match",
    {"type": "string"},
    "The ETag of an earlier answer: 304 without a body, if that is what would be answered.",
)
"""The header in OpenAPI: name, schema, description."""

NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "What the client has is what the catalog has."}
}


def conditional(request: Request, body: bytes) -> Response:
    """The JSON `body` with its ETag; 304 without it if the request's If-None-Match has the tag."""
    tag = f'"{blake2b(body, digest_size=8).hexdigest()}"'
    # To be asked for again each time: a price may change with the next request.
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    if "*" in known or tag in (part.removeprefix("W/") for part in known):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
