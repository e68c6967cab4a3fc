"""Routes for those who run the service: liveness, readiness, metrics."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from vitrina.online import examples
from vitrina.online.access import on_admin_port
from vitrina.online.answers import Alive, Readiness
from vitrina.online.openapi import answers
from vitrina.online.service import Service


def operations(service: Service) -> APIRouter:
    """/healthz, /readyz and /metrics."""
    router = APIRouter(tags=["operations"])

    @router.get(
        "/healthz",
        summary="Is the process alive?",
        responses=answers(Alive, examples.ALIVE),
    )
    async def healthz() -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    @router.get(
        "/readyz",
        summary="Can it recommend? Which bundle serves, and is anything wrong with the next one?",
        responses={
            **answers(Readiness, examples.READY),
            503: {
                "model": Readiness,
                "description": "No bundle serves (see `problem`), or the server is about to end.",
                "content": {"application/json": {"example": examples.NOT_READY}},
            },
        },
    )
    async def readyz(request: Request) -> Response:
        recommender = service.releases.recommender
        ready = recommender is not None and not service.draining
        content: dict[str, Any] = {
            "status": "draining" if service.draining else "ready" if ready else "not ready",
            "bundle": None,
            "problem": None,
            "breakers": {},
            "shadow": None,
        }
        if on_admin_port(request.scope, service.settings.serve.admin_port):
            content["problem"] = service.releases.problem
            content["shadow"] = service.shadow.status()
            if recommender is not None:
                content["bundle"] = recommender.bundle.manifest.version
                content["breakers"] = {
                    part: breaker.state for part, breaker in recommender.breakers.items()
                }
        status = 200 if ready else 503
        return Response(orjson.dumps(content), status, media_type="application/json")

    @router.get(
        "/metrics",
        summary="Counters and histograms for Prometheus.",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": examples.METRICS}}}},
    )
    async def metrics() -> Response:
        recommender = service.releases.recommender
        text = service.telemetry.exposition(
            service.releases.serving, recommender.breakers if recommender else {}
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
