"""The id of the request being answered: the client's own or a new one, in answers and in logs."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

REQUEST_ID_HEADER: Final = b"x-request-id"

current_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of a request. Threads that work on a request see it, too."""

_USABLE: Final = re.compile(rb"[A-Za-z0-9._:-]{8,128}")
"""What is taken of a client: nothing that would have to be escaped in a header, JSON or a log."""


def request_id_of(headers: list[tuple[bytes, bytes]]) -> str:
    """The id that the client sent along, if it can be used, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER and _USABLE.fullmatch(value):
            return value.decode("ascii")
    return secrets.token_hex(16)
