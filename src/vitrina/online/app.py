"""The HTTP service: FastAPI around `Service`. OpenAPI (`/docs`) is the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import vitrina
from vitrina.online.access import AccessControl, document_access
from vitrina.online.beacon import beacon
from vitrina.online.direct import DirectRoutes
from vitrina.online.edge import Edge
from vitrina.online.item_routes import item_routes
from vitrina.online.keys import WatchedKeys
from vitrina.online.limits import Admission
from vitrina.online.operations import operations
from vitrina.online.people import people
from vitrina.online.problems import install_problem_handlers
from vitrina.online.routes import DIRECT, routes
from vitrina.online.service import Service
from vitrina.online.telemetry import RequestCounter
from vitrina.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The application, with its `Service` in `app.state.service`. The lifespan starts and stops it.

    Raises DataError when the state file cannot be used, KeysError when the keys cannot. Without a
    promoted bundle it starts all the same, says so in /readyz, and serves as soon as one is
    promoted.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="Vitrina",
        version=vitrina.__version__,
        description=vitrina.__doc__ or "",
        lifespan=lifespan,
        openapi_tags=[
            {"name": "events", "description": "What shoppers do."},
            {"name": "recommendations", "description": "What to show them."},
            {"name": "catalog", "description": "What the shop sells now."},
            {"name": "lookups", "description": "What is known of shoppers and items."},
            {"name": "people", "description": "Who they are, and what is kept of them."},
            {"name": "operations", "description": "Is it up, and how is it doing."},
        ],
    )
    app.state.service = service
    shop_routes = routes(service)
    # From the inside out: what was added last sees a request first.
    app.add_middleware(DirectRoutes, routes=shop_routes.routes, paths=DIRECT)
    app.add_middleware(
        Admission, settings=settings.serve, load=service.load, telemetry=service.telemetry
    )
    app.add_middleware(
        AccessControl,
        keys=WatchedKeys(settings.paths.keys),
        origins=frozenset(settings.serve.cors_origins),
        admin_port=settings.serve.admin_port,
    )
    if settings.serve.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.serve.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    if service.tracing is not None:
        from vitrina.online.tracing import TracedRequests

        app.add_middleware(TracedRequests, tracing=service.tracing)
    app.add_middleware(Edge)
    app.add_middleware(RequestCounter, telemetry=service.telemetry)
    install_problem_handlers(app)
    document_access(app)
    app.include_router(shop_routes)
    app.include_router(item_routes(service))
    app.include_router(people(service))
    app.include_router(operations(service))
    app.include_router(beacon())
    return app
