"""What Prometheus is told about the service (`/metrics`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import vitrina
from vitrina.online.breaker import STATES, Breakers
from vitrina.online.recommender import Recommendation
from vitrina.online.stages import STAGES

_SECONDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
_AGES = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
_ROUTELESS = "(none)"

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that tells prometheus_client to count in files that several processes share."""


class Telemetry:
    """The service's counters; each application has its own, so that tests do not share."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            "vitrina_requests",
            "HTTP requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        request_seconds = Histogram(
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
        served = Counter(
            "vitrina_served",
            "Recommendations by shelf and by the rung that made the user vector.",
            ["shelf", "rung"],
            registry=self.registry,
        )
        shown = Counter(
            "vitrina_shown",
            "Recommendations by where they are shown, and on what ('unknown': not said).",
            ["surface", "device_type"],
            registry=self.registry,
        )
        self._degraded = Counter(
            "vitrina_degraded",
            "Stages that failed and were answered by their fallback.",
            ["stage"],
            registry=self.registry,
        )
        look_ups = Counter(
            "vitrina_user_vector_cache",
            "Look-ups of cached user vectors.",
            ["outcome"],
            registry=self.registry,
        )
        self._stale_seconds = Histogram(
            "vitrina_stale_user_vector_seconds",
            "Age of cached user vectors that stood in for histories that could not be read: how "
            "long ago they were the shoppers' for certain.",
            buckets=_AGES,
            registry=self.registry,
        )
        self.refused = Counter(
            "vitrina_put_off",
            "Requests answered by 429: above their client's rate, or above the server's load.",
            ["reason"],
            registry=self.registry,
        )
        self.shadow = Counter(
            "vitrina_shadow",
            "Requests repeated with the bundle in the shadow, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._shadow_overlap = Histogram(
            "vitrina_shadow_overlap",
            "Share of an answer's items that the bundle in the shadow shows, too (overlap@k).",
            buckets=[tenths / 10 for tenths in range(11)],
            registry=self.registry,
        )
        self._shadow_seconds = Histogram(
            "vitrina_shadow_seconds",
            "Time of a recommendation in the shadow, no vector cached.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.events = Counter(
            "vitrina_events",
            "Events received, by outcome.",
            ["outcome"],
            registry=self.registry,
        )

        # Looking a child up by its labels takes longer than to count; there are few of each.
        self._requests, self._request_seconds = (
            cache(requests.labels),
            cache(request_seconds.labels),
        )
        self._served, self._shown = cache(served.labels), cache(shown.labels)
        self._cached = cache(look_ups.labels)

    def shadowed(self, overlap: float, seconds: float, degraded: bool) -> None:
        """Count one request that was repeated in the shadow (`online.shadow`)."""
        self._shadow_overlap.observe(overlap)
        self._shadow_seconds.observe(seconds)
        self.shadow.labels("degraded" if degraded else "compared").inc()

    def recommended(self, answer: Recommendation) -> None:
        """Count one recommendation."""
        for stage, milliseconds in answer.timings_ms.items():
            self._stage_seconds[stage].observe(milliseconds / 1e3)
        self._served(answer.shelf, answer.served_by).inc()
        request = answer.request
        self._shown(request.surface, request.device_type or "unknown").inc()
        if answer.cached is not None:
            self._cached("hit" if answer.cached else "miss").inc()
        if answer.stale_seconds is not None:
            self._stale_seconds.observe(answer.stale_seconds)
        for stage in {reason.partition(":")[0] for reason in answer.degraded}:
            self._degraded.labels(stage).inc()

    def requested(self, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        self._requests(route, str(status)).inc()
        self._request_seconds(route).observe(seconds)

    def exposition(self, serving: str | None, breakers: Breakers) -> bytes:
        """All of it in Prometheus' text format; `serving` is the bundle in service.

        Of several workers, whichever is asked answers with the counts of all, and with its own
        bundle and breakers.
        """
        counts = self.registry
        if METRICS_FOLDER in os.environ:
            counts = CollectorRegistry()
            MultiProcessCollector(counts)  # type: ignore[no-untyped-call]
        return generate_latest(counts) + generate_latest(_present(serving, breakers))


def forget_process(pid: int) -> None:
    """Drop the gauges of a worker that is no more; what it counted still counts."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Present(Collector):
    """What is so at this moment, in this process."""

    def __init__(self, serving: str | None, breakers: Breakers) -> None:
        self._serving = serving
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "vitrina_build_info", "The version of Vitrina.", labels=["version"]
        )
        build.add_metric([vitrina.__version__], 1)
        yield build
        info = GaugeMetricFamily(
            "vitrina_bundle_info", "The bundle being served.", labels=["version"]
        )
        if self._serving is not None:
            info.add_metric([self._serving], 1)
        yield info
        states = GaugeMetricFamily(
            "vitrina_breaker_state",
            "1 for the state that the circuit breaker of a part is in, 0 for the others.",
            labels=["part", "state"],
        )
        for part, breaker in self._breakers.items():
            found = breaker.state
            for state in STATES:
                states.add_metric([part, state], state == found)
        yield states


def _present(serving: str | None, breakers: Breakers) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Present(serving, breakers))
    return registry


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
