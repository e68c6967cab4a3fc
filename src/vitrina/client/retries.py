"""Asking again: what is worth it, how long to wait, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from vitrina.errors import VitrinaError

AGAIN: Final = frozenset({429, 502, 503, 504})
"""Answers that may be others a moment later. Every call can be sent twice: events have ids."""


class ServiceError(VitrinaError):
    """The service refused, or could not be reached (status None) however often it was asked.

    errors: what is wrong with which field; retry_after: seconds that it asks to wait, if it does;
    request_id: by which the server's log knows the request.
    """

    def __init__(
        self,
        detail: str,
        status: int | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after

    @classmethod
    def of(cls, response: httpx.Response) -> ServiceError:
        """The refusal that a response is."""
        try:
            problem = response.json()
            detail, errors = str(problem["detail"]), problem.get("errors", ())
        except (ValueError, KeyError, TypeError, AttributeError):
            detail, errors = f"{response.status_code} {response.reason_phrase}".strip(), ()
        seconds = response.headers.get("retry-after", "")
        return cls(
            detail,
            response.status_code,
            errors,
            response.headers.get("x-request-id"),
            float(seconds) if seconds.isdecimal() else None,
        )


@dataclass(frozen=True, slots=True)
class Retries:
    """How often to ask again, and how long to wait before.

    The n-th wait is random, up to first_seconds · 2ⁿ (at most max_seconds), so that clients that
    were refused together do not come back together; never less than the server asks for. A
    server that asks for more than max_seconds is not asked again.
    """

    count: int = 3
    first_seconds: float = 0.1
    max_seconds: float = 10.0

    def pause(self, asked: int, error: ServiceError) -> float | None:
        """Seconds to wait after the `asked`-th time (from 0); None: give up."""
        if asked >= self.count or not (error.status is None or error.status in AGAIN):
            return None
        wanted = error.retry_after or 0.0
        if wanted > self.max_seconds:
            return None
        longest = min(self.first_seconds * 2**asked, self.max_seconds)
        return wanted + random.uniform(0, longest)  # noqa: S311 (no secret)
