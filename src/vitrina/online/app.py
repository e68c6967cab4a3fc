"""The HTTP service: FastAPI around `Service`. OpenAPI (`/docs`) is the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import vitrina
from vitrina.online.item_routes import item_routes
from vitrina.online.operations import operations
from vitrina.online.problems import install_problem_handlers
from vitrina.online.routes import routes
from vitrina.online.service import Service
from vitrina.online.telemetry import RequestCounter
from vitrina.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The application, with its `Service` in `app.state.service`. The lifespan starts and stops it.

    Raises DataError when the state file cannot be used. Without a promoted bundle it starts all
    the same, says so in /readyz, and serves as soon as one is promoted.
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
            {"name": "operations", "description": "Is it up, and how is it doing."},
        ],
    )
    app.state.service = service
    app.add_middleware(RequestCounter, telemetry=service.telemetry)
    install_problem_handlers(app)
    app.include_router(routes(service))
    app.include_router(item_routes(service))
    app.include_router(operations(service))
    return app
