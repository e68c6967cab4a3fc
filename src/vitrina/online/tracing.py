"""OpenTelemetry traces: a span a request, and within it one for each stage of a recommendation.

Stages are timed anyway (`stages.py`), so their spans are written afterwards, with those times:
tracing is not woven into them, and costs nothing while it is off. How many traces are kept is said
by OpenTelemetry's own variables (OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG).
"""

from __future__ import annotations

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import vitrina
from vitrina.errors import MissingExtra
from vitrina.online.recommender import Recommendation
from vitrina.online.request_id import current_request_id
from vitrina.online.stages import STAGES

try:
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ModuleNotFoundError as error:
    raise MissingExtra(
        "opentelemetry-sdk", "otel", why="[serve] otlp_endpoint asks for traces. "
    ) from error

_ROUTELESS: Final = "(none)"


class Tracing:
    """Sends spans to the collector at `endpoint` (OTLP over HTTP, such as
    http://collector:4318/v1/traces), in the background."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create(
            {"service.name": "vitrina", "service.version": vitrina.__version__}
        )
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self.tracer = self._provider.get_tracer("vitrina", vitrina.__version__)

    def stop(self) -> None:
        """Send what is left, and no more."""
        self._provider.shutdown()

    def recommended(self, answer: Recommendation) -> None:
        """Write the spans of an answer that has just been given. No shopper and no item in them."""
        timings = answer.timings_ms
        now = time.time_ns()
        moment = began = now - _ns(timings["total"])
        attributes = {
            "vitrina.served_by": answer.served_by,
            "vitrina.shelf": answer.shelf,
            "vitrina.bundle": answer.bundle.manifest.version,
            "vitrina.degraded": list(answer.degraded),
        }
        span = self.tracer.start_span("recommend", start_time=began, attributes=attributes)
        within = trace.set_span_in_context(span)
        for stage in STAGES:
            if stage in timings:
                ends = moment + _ns(timings[stage])
                self.tracer.start_span(stage, within, start_time=moment).end(ends)
                moment = ends
        span.end(now)


class TracedRequests:
    """ASGI middleware that makes a span of each request, in the trace that it belongs to."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carrier = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        with self._tracer.start_as_current_span(
            scope["method"],
            propagate.extract(carrier),
            trace.SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "vitrina.request_id": current_request_id.get(),
            },
            record_exception=False,  # its text may name a shopper
            set_status_on_exception=False,
        ) as span:

            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, watch)
            finally:
                route = getattr(scope.get("route"), "path", _ROUTELESS)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)
