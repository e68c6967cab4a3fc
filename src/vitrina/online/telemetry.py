"""What Prometheus is told about the service (`/metrics`)."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitrina.online.breaker import STATES, Breakers
from vitrina.online.recommender import Recommendation
from vitrina.online.stages import STAGES

_SECONDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
_ROUTELESS = "(none)"


class Telemetry:
    """The service's counters; each application has its own, so that tests do not share."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "vitrina_requests",
            "HTTP requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "vitrina_request_seconds",
            "Time to answer an HTTP request.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        stage_seconds = Histogram(
            "vitrina_stage_seconds",
            "Time spent in each stage of a recommendation.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = {stage: stage_seconds.labels(stage) for stage in (*STAGES, "total")}
        self._served = Counter(
            "vitrina_served",
            "Recommendations by shelf and by the rung that made the user vector.",
            ["shelf", "rung"],
            registry=self.registry,
        )
        self._degraded = Counter(
            "vitrina_degraded",
            "Stages that failed and were answered by their fallback.",
            ["stage"],
            registry=self.registry,
        )
        self._cache = Counter(
            "vitrina_user_vector_cache",
            "Look-ups of cached user vectors.",
            ["outcome"],
            registry=self.registry,
        )
        self.events = Counter(
            "vitrina_events",
            "Events received, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._breakers = Gauge(
            "vitrina_breaker_state",
            "1 for the state that the circuit breaker of a part is in, 0 for the others.",
            ["part", "state"],
            registry=self.registry,
        )
        self._bundle = Gauge(
            "vitrina_bundle_info", "The bundle being served.", ["version"], registry=self.registry
        )

    def recommended(self, answer: Recommendation) -> None:
        """Count one recommendation."""
        for stage, milliseconds in answer.timings_ms.items():
            self._stage_seconds[stage].observe(milliseconds / 1e3)
        self._served.labels(answer.shelf, answer.served_by).inc()
        if answer.cached is not None:
            self._cache.labels("hit" if answer.cached else "miss").inc()
        for stage in {reason.partition(":")[0] for reason in answer.degraded}:
            self._degraded.labels(stage).inc()

    def requested(self, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def exposition(self, serving: str | None, breakers: Breakers) -> bytes:
        """All of it in Prometheus' text format; `serving` is the bundle in service."""
        for part, breaker in breakers.items():
            found = breaker.state
            for state in STATES:
                self._breakers.labels(part, state).set(state == found)
        self._bundle.clear()
        if serving is not None:
            self._bundle.labels(serving).set(1)
        return generate_latest(self.registry)


class RequestCounter:
    """ASGI middleware that counts requests by route template, never by the path's own ids."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", _ROUTELESS)
            self._telemetry.requested(route, status, time.perf_counter() - started)
