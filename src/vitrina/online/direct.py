"""The way past FastAPI's routing, for the routes that every page of a shop calls.

Its search for the route, and what it makes ready for dependencies that these handlers do not have,
cost more than reading the shopper's history. They are documented by it like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


class DirectRoute(BaseRoute):
    """Some of an application's routes, to stand before all others.

    routes: of which those at `paths` are answered, by handlers that take the request alone and are
    coroutines.
    """

    def __init__(self, routes: Iterable[BaseRoute], paths: Collection[str]) -> None:
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, APIRoute) and route.path in paths
            for method in route.methods or ()
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        route = self._routes.get((scope.get("method", ""), scope["path"]))
        if route is None:
            return Match.NONE, {}
        return Match.FULL, {"route": route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await scope["route"].endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
