"""The routes shops call: events in; recommendations and look-ups of shoppers out.

Handlers read their request themselves and answer with ready bytes: FastAPI's own validation and
serialisation cost more than the recommendation. `openapi.py` documents them all the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from vitrina.online import examples
from vitrina.online.answers import (
    Batch,
    EventsTaken,
    Recommendations,
    UserEmbedding,
    UserHistory,
)
from vitrina.online.deadline import DEADLINE, HEADER, deadline_ms
from vitrina.online.openapi import (
    answers,
    json_body,
    one_or_several,
    query_parameters,
    schema_of,
    with_header,
)
from vitrina.online.paths import USER
from vitrina.online.problems import Problem, json_response, problem_content, read_json
from vitrina.online.requests import (
    LISTS,
    MAX_BATCH,
    EventIn,
    HistoryKey,
    RecommendationIn,
    iso_moment,
    parse_batch,
    parse_events,
    parse_recommendation,
)
from vitrina.online.service import Service
from vitrina.online.stages import server_timing

DIRECT: Final = ("/v1/events", "/v1/recommendations")
"""Routes that are answered past FastAPI's routing (`direct.py`)."""


def routes(service: Service) -> APIRouter:
    """Everything under /v1 but the catalog."""
    router = APIRouter(prefix="/v1")
    event_settings = service.settings.events

    def deadline(request: Request) -> float:
        return deadline_ms(request.headers.get(HEADER), service.settings.serve.deadline_ms)

    @router.post(
        "/events",
        tags=["events"],
        summary="Record what shoppers did: one event, a list, or {events: [...]}.",
        description=(
            "When this answers, the events are on disk and the shoppers' next recommendations "
            "take them into account. Sending an event_id again changes nothing. If any event "
            "cannot be used, none is stored and the answer names each by index and field."
        ),
        responses=answers(EventsTaken, examples.EVENTS_ANSWER, 400, 413, 422, 503),
        openapi_extra=json_body(one_or_several(EventIn, "events"), examples.EVENT),
    )
    async def post_events(request: Request) -> Response:
        content = await read_json(request)
        return json_response(await run_in_threadpool(record, content))

    def record(content: Any) -> dict[str, int]:
        try:
            events = parse_events(content, event_settings.weights, event_settings.purposes)
        except Problem:
            service.telemetry.events.labels("refused").inc()
            raise
        return service.record(events)

    recommendation_answers = answers(Recommendations, examples.RECOMMENDATIONS, 400, 413, 422, 503)

    @router.get(
        "/recommendations",
        tags=["recommendations"],
        summary="Items for a shopper, a session, or someone nobody knows yet.",
        responses=recommendation_answers,
        openapi_extra=with_header(
            query_parameters(RecommendationIn, leave_out=("history",)), *DEADLINE
        ),
    )
    async def get_recommendations(request: Request) -> Response:
        query = request.query_params
        values: dict[str, Any] = dict(query)
        values |= {name: query.getlist(name) for name in LISTS if name in query}
        return await _recommend(values, request)

    @router.post(
        "/recommendations",
        tags=["recommendations"],
        summary="The same with a JSON body, which may carry the history itself.",
        responses=recommendation_answers,
        openapi_extra=with_header(
            json_body(schema_of(RecommendationIn), examples.RECOMMENDATION_REQUEST), *DEADLINE
        ),
    )
    async def post_recommendations(request: Request) -> Response:
        return await _recommend(await read_json(request), request)

    async def _recommend(values: Any, request: Request) -> Response:
        wanted = parse_recommendation(values)
        answer = await service.recommend_in_time(wanted, deadline(request))

        async def count() -> None:  # once it is sent: nobody has to wait for that
            service.count(answer)

        return Response(
            answer.to_json(),
            headers=server_timing(answer.timings_ms),
            media_type="application/json",
            background=BackgroundTask(count),
        )

    @router.post(
        "/recommendations:batch",
        tags=["recommendations"],
        summary="Several requests at once; one that cannot be used fails alone.",
        description=(
            f"Up to {MAX_BATCH} requests. `answers` has one for each, in their order: what the "
            "request alone would be answered, or a problem with its `status`. The deadline is "
            "that of each request."
        ),
        responses=answers(Batch, examples.BATCH, 400, 413, 422, 503),
        openapi_extra=with_header(
            json_body(
                {
                    "type": "object",
                    "properties": {
                        "requests": {
                            "type": "array",
                            "items": schema_of(RecommendationIn),
                            "minItems": 1,
                            "maxItems": MAX_BATCH,
                        }
                    },
                    "required": ["requests"],
                },
                examples.BATCH_REQUEST,
            ),
            *DEADLINE,
        ),
    )
    async def post_batch(request: Request) -> Response:
        requests = parse_batch(await read_json(request))
        usable = [wanted for wanted in requests if not isinstance(wanted, Problem)]
        found = await service.recommend_all_in_time(usable, deadline(request))
        for answer in found:
            service.count(answer)
        bodies = (answer.to_json() for answer in found)
        parts = [
            orjson.dumps(problem_content(wanted)) if isinstance(wanted, Problem) else next(bodies)
            for wanted in requests
        ]
        body = b'{"answers":[' + b",".join(parts) + b"]}"
        return Response(body, media_type="application/json")

    @router.get(
        f"{USER}/embedding",
        tags=["lookups"],
        summary="The vector a shopper is served with, its versions and its rung.",
        description="An anonymous visitor's id is `session:` and the session id.",
        responses=answers(UserEmbedding, examples.EMBEDDING, 422, 503),
    )
    def get_embedding(user_id: HistoryKey, include_vector: bool = False) -> Response:
        vector = service.recommender.user_vector(user_id)
        if vector is None:
            raise Problem(503, "No rung of the ladder yields a vector; the server's log says why.")
        norm = round(float(np.linalg.norm(vector.values)), 4)
        embedding: dict[str, Any] = {"dim": len(vector.values), "norm": norm}
        if include_vector:
            embedding["vector"] = vector.values
        return json_response(
            {
                "user_embedding": embedding,
                "user_embedding_version": vector.user_embedding_version,
                "depends_on": {"item_embedding_version": vector.space.version},
                "rung": vector.rung,
            }
        )

    @router.get(
        f"{USER}/history",
        tags=["lookups"],
        summary="A shopper's newest events, oldest first.",
        description="An anonymous visitor's id is `session:` and the session id.",
        responses=answers(UserHistory, examples.HISTORY, 422),
    )
    def get_history(
        user_id: HistoryKey, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Response:
        history = service.state.recent(user_id, limit)
        columns = zip(history.item_ids, history.event_types, history.timestamps_us, strict=True)
        events = [
            {"item_id": item_id, "event_type": event_type, "timestamp": iso_moment(moment)}
            for item_id, event_type, moment in columns
        ]
        return json_response({"user_id": user_id, "events": events})

    return router
