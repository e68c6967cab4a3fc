"""The way past FastAPI's routing, for the routes that every page of a shop calls.

Its search for the route, and what it makes ready for dependencies that these handlers do not have,
cost more than reading the shopper's history. They are documented by it like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from vitrina.online.problems import Problem, disconnected, problem_response


class DirectRoutes:
    """ASGI middleware, the innermost, that answers some of an application's routes itself.

    routes: of which those at `paths` are answered, by handlers that take the request alone, are
    coroutines, and refuse it by raising Problem.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], paths: Collection[str]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, APIRoute) and route.path in paths
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        try:
            response: Response = await route.endpoint(Request(scope, receive, send))
        except Problem as problem:
            response = problem_response(problem)
        except ClientDisconnect:
            response = problem_response(disconnected())
        await response(scope, receive, send)
