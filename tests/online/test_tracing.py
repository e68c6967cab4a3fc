"""Traces, as a collector gets them: a span a request, one a stage, and nobody named in them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app

proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """The address of a collector, and the spans that it gets."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in proto.ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_is_a_span_with_one_for_each_stage(
    tmp_path: Path, registry: Registry, collector: tuple[str, list[Any]]
) -> None:
    endpoint, spans = collector
    settings = shop_settings(tmp_path)
    serve = settings.serve.model_copy(update={"otlp_endpoint": endpoint})
    app = create_app(settings.model_copy(update={"serve": serve}))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-ID": "known-7f3a"}
    with serving(app) as client:
        params = {"user_id": "agatha-c-1890", "seed": "item-0003"}
        answer = client.get("/v1/recommendations", params=params, headers=headers).json()
        assert answer["request_id"] == "known-7f3a"
        client.get("/v1/users/agatha-c-1890/history")
    by_name = {span.name: span for span in spans}
    request, recommend = by_name["GET /v1/recommendations"], by_name["recommend"]
    assert request.trace_id.hex() == recommend.trace_id.hex() == trace
    assert request.parent_span_id.hex() == parent
    assert recommend.parent_span_id == request.span_id
    stages = [by_name[stage] for stage in ("history", "user_vector", "candidates", "rank")]
    moments = [moment for s in stages for moment in (s.start_time_unix_nano, s.end_time_unix_nano)]
    assert moments == sorted(moments)
    assert recommend.start_time_unix_nano <= moments[0]
    assert moments[-1] <= recommend.end_time_unix_nano + 1_000_000
    assert {span.parent_span_id for span in stages} == {recommend.span_id}
    attributes = {entry.key: entry.value for entry in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["vitrina.request_id"].string_value == "known-7f3a"
    assert "agatha" not in str(spans)
    assert "item-0003" not in str(spans)
