"""The routes of a person's rights and identity: to be recognised, shown what is kept, forgotten."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from vitrina.online import examples
from vitrina.online.answers import ErasureReceipt, Export, Identity
from vitrina.online.openapi import answers, json_body, schema_of
from vitrina.online.paths import USER
from vitrina.online.problems import Problem, field_errors, json_response, read_json
from vitrina.online.requests import HistoryKey, Id, StrictIn, UserId, iso_moment
from vitrina.online.service import Service


class IdentityIn(StrictIn):
    """Who has signed in, in which session."""

    session_id: Id
    user_id: UserId


def people(service: Service) -> APIRouter:
    """POST /v1/identities, GET /v1/users/{id}/export, DELETE /v1/users/{id}."""
    router = APIRouter(prefix="/v1", tags=["people"])

    @router.post(
        "/identities",
        summary="Say who a session's visitor is, when they sign in.",
        description=(
            "What the session did before, and what it does from now on without a user_id, is in "
            "the user's history and in the next answer. Sent again, it changes nothing. A session "
            "belongs to one user for good (409): begin a new one when somebody signs out."
        ),
        responses=answers(Identity, examples.IDENTITY_ANSWER, 400, 409, 413, 422, 503),
        openapi_extra=json_body(schema_of(IdentityIn), examples.IDENTITY),
    )
    async def post_identities(request: Request) -> Response:
        content = await read_json(request)
        try:
            who = IdentityIn.model_validate(content)
        except ValidationError as error:
            raise Problem(422, "The identity cannot be used.", field_errors(error)) from error
        joined = await run_in_threadpool(service.state.identify, who.session_id, who.user_id)
        return json_response({**who.model_dump(), "joined": joined})

    @router.get(
        f"{USER}/export",
        summary="Everything that is held of a person.",
        description=(
            "The log's events, newest last, with the sessions that have joined the user; the whole "
            "history, which has older events, too; and all purchases. Vectors are made of the "
            "history: see /v1/users/{user_id}/embedding. An anonymous visitor's id is `session:` "
            "and the session id."
        ),
        responses=answers(Export, examples.EXPORT, 422, 503),
    )
    def get_export(user_id: HistoryKey) -> Response:
        held = service.state.export(user_id)
        history, bought = held.history, held.purchases
        return json_response(
            {
                "user_id": user_id,
                "sessions": held.sessions,
                "events": [_event(event) for event in held.events],
                "history": [
                    {"item_id": item_id, "event_type": kind, "timestamp": iso_moment(moment)}
                    for item_id, kind, moment in zip(
                        history.item_ids, history.event_types, history.timestamps_us, strict=True
                    )
                ],
                "purchases": [
                    {"item_id": item_id, "count": count, "last": iso_moment(last)}
                    for item_id, count, last in zip(
                        bought.item_ids, bought.counts, bought.last_us, strict=True
                    )
                ],
            }
        )

    @router.delete(
        USER,
        summary="Forget a person.",
        description=(
            "When this answers, log, history, purchases, sessions and cached vectors are gone, and "
            "what happened up to `erased_at` is not taken again. The lake, and all that is trained "
            "on it from then on, is without them after the next `vitrina lake compact` or `vitrina "
            "ingest`. Keep the receipt; it names no one. Somebody who comes back is new. An "
            "anonymous visitor's id is `session:` and the session id; 409 if that session is a "
            "user's."
        ),
        responses=answers(ErasureReceipt, examples.RECEIPT, 409, 422, 503),
    )
    def delete_user(user_id: HistoryKey) -> Response:
        receipt = service.erase(user_id)
        return json_response(
            {
                "receipt_id": receipt.receipt_id,
                "erased_at": iso_moment(receipt.erased_at_us),
                "deleted": {
                    "events": receipt.events,
                    "history": receipt.history,
                    "purchases": receipt.purchases,
                    "sessions": len(receipt.keys) - 1,
                },
            }
        )

    return router


def _event(event: Any) -> dict[str, Any]:
    values = {name: value for name, value in event.items() if value is not None}
    values["timestamp"] = iso_moment(values.pop("timestamp_us"))
    return values
