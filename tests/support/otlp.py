"""A collector of OpenTelemetry on loopback: keeps what it is sent by OTLP over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.loopback import QuietHandler, running, server_of

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


class Collector:
    """What arrived."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.service_names: set[str] = set()
        self.counters: dict[tuple[str, ...], float] = {}
        """The last value of each, by name and values of attributes."""

    def take(self, path: str, body: bytes) -> None:
        """Take one request."""
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._resource(group.resource)
                for scope in group.scope_spans:
                    self.spans += scope.spans
        elif path == "/v1/metrics":
            for of in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._resource(of.resource)
                for metric in (metric for scope in of.scope_metrics for metric in scope.metrics):
                    for point in metric.sum.data_points:
                        values = [str(_value(attribute.value)) for attribute in point.attributes]
                        number = point.as_double if point.WhichOneof("value") == "as_double" else point.as_int
                        self.counters[(metric.name, *values)] = number

    def _resource(self, resource: Any) -> None:
        self.service_names |= {_value(found.value) for found in resource.attributes if found.key == "service.name"}


def attributes(span: Span) -> dict[str, Any]:
    """The attributes of a span."""
    return {found.key: _value(found.value) for found in span.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Collect on 127.0.0.1, on a free port."""
    found = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            found.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with running(server_of(Handler), "otlp") as found.url:
        yield found
