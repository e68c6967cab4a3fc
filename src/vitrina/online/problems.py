"""Refusals as problem JSON (RFC 9457), and request bodies read within bounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vitrina.errors import SessionTaken, StateError

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
MAX_ERRORS = 100
"""Findings named in one refusal: whoever sends more has made one mistake many times."""


class Problem(Exception):
    """A request that is answered by a refusal. `detail` is a sentence that says what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers


def problem_response(problem: Problem) -> Response:
    """The problem as the whole of an answer, `application/problem+json`."""
    return Response(
        orjson.dumps(problem_content(problem)),
        problem.status,
        problem.headers,
        media_type="application/problem+json",
    )


def problem_content(problem: Problem) -> dict[str, Any]:
    """Type, title, status, detail and, if any, errors."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        content["errors"] = problem.errors
    return content


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every refusal and every error, ours or the framework's, as problem JSON."""

    @app.exception_handler(Problem)
    async def refused(_: Request, problem: Problem) -> Response:
        return problem_response(problem)

    @app.exception_handler(StateError)
    async def stateless(_: Request, error: StateError) -> Response:
        log.error("The store failed: %s", error)  # where it is concerns no client
        return problem_response(Problem(503, "The store cannot do this now. Try again."))

    @app.exception_handler(SessionTaken)
    async def taken(_: Request, error: SessionTaken) -> Response:
        return problem_response(Problem(409, str(error)))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return problem_response(
            Problem(error.status_code, str(error.detail), headers=error.headers)
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        errors = [
            {"field": ".".join(str(part) for part in finding["loc"]), "message": finding["msg"]}
            for finding in error.errors()
        ]
        return problem_response(Problem(422, "The request cannot be used.", errors))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return problem_response(disconnected())

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return problem_response(
            Problem(
                500, f"The server failed on this request ({type(error).__name__}). See its log."
            )
        )


def disconnected() -> Problem:
    """The problem of a request whose body never came whole."""
    return Problem(400, "The connection ended before the request did.")


def json_response(content: Any) -> Response:
    """Ready bytes of an answer; arrays are lists."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


async def read_json(request: Request) -> Any:
    """The body as JSON values. Refuses bodies over 1 MB (413) and text that is not JSON (400)."""
    body = await read_body(request)
    if not body:
        raise Problem(400, "The body is empty; a JSON object was expected.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error}.") from error


async def read_body(request: Request) -> bytes:
    """The body's bytes, read no further than the limit, whether or not its length was announced."""
    too_large = Problem(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes. Send it in parts.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def field_errors(error: ValidationError, index: int | None = None) -> list[dict[str, Any]]:
    """Pydantic's findings as `{index?, field, message}`, in words."""
    return [
        ({} if index is None else {"index": index})
        | {
            "field": ".".join(str(part) for part in finding["loc"]) or "(all)",
            "message": finding["msg"].removeprefix("Value error, "),
        }
        for finding in error.errors(include_url=False, include_context=False, include_input=False)
    ]
