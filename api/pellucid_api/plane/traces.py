"""OpenTelemetry traces of inference requests.

Each traced request has a span `request` with the spans `decode`, `queue`, `run` and `encode` in
it. They are made when the request has ended, from times that were taken on its way. A caller's W3C
`traceparent` is the parent; the answer's `traceparent` names the span here.
"""

import logging
import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from pellucid_api.engine.batcher import Work
from pellucid_api.engine.served import Served
from pellucid_api.plane.exchange import Reply, RequestHeaders

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SHARE = 0.01  # of requests without a caller's decision; OTEL_TRACES_SAMPLER says otherwise

logger = logging.getLogger(__name__)


class Traces:
    """Makes the traces of a process. Whoever has None instead pays nothing."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("pellucid_api")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def configured(cls) -> Self | None:
        """As OpenTelemetry's own variables say; None if they name no endpoint."""
        if (
            not any(map(os.environ.get, _ENDPOINTS))
            or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        ):
            return None
        try:
            exporting = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        except ImportError:
            logger.error("Traces are asked for and cannot be sent: pip install 'pellucid[traces]'")
            return None
        return cls(provider_of(exporting.OTLPSpanExporter()))

    def begin(self, served: Served, headers: RequestHeaders) -> "Trace | None":
        """The trace of a request, if it is one of the sample."""
        parent: Context | None = None
        if given := headers.get(b"traceparent", b""):
            carrier = {
                "traceparent": given.decode("latin-1"),
                "tracestate": headers.get(b"tracestate", b"").decode("latin-1"),
            }
            parent = self._propagator.extract(carrier)
        span = self._tracer.start_span("request", parent, _kind(), start_time=time.time_ns())
        if not span.is_recording():
            return None
        span.set_attributes({"pellucid.model": served.name, "pellucid.version": served.version})
        return Trace(self._tracer, span)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


class Trace:
    """The trace of one request. Times are of `time.perf_counter`."""

    __slots__ = ("_offset", "_span", "_started", "_tracer", "decoded")

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer, self._span = tracer, span
        self._started = self.decoded = time.perf_counter()
        self._offset = time.time_ns() - int(1e9 * self._started)

    def end(self, work: Work | None, answer: Any = None, error: Exception | None = None) -> Any:
        """Close the spans.

        Returns:
            The answer; if it is HTTP's, with the span's `traceparent` among the headers.
        """
        from opentelemetry import trace

        now = time.perf_counter()
        context = trace.set_span_in_context(self._span)
        steps = [("decode", self._started, self.decoded)]
        if work is not None:
            self._span.set_attribute("pellucid.rows", work.feed.rows)
            steps.append(("queue", self.decoded, work.started or now))
            if work.started:
                steps.append(("run", work.started, work.finished))
            if error is None:
                steps.append(("encode", work.finished, now))
        for name, start, end in steps:
            child = self._tracer.start_span(name, context, start_time=self._time(start))
            child.end(self._time(max(start, end)))
        if error is not None:
            # Its message may hold what the request said; its name does not.
            self._span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        self._span.end(self._time(now))
        if isinstance(answer, Reply):
            found = self._span.get_span_context()
            value = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
            headers = [*answer.headers, (b"traceparent", value.encode())]
            return answer._replace(headers=headers)
        return answer

    def _time(self, seconds: float) -> int:
        return self._offset + int(1e9 * seconds)


def provider_of(exporter: Any) -> "TracerProvider":
    """Sends a share of all spans in the background, as OpenTelemetry's variables say."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    sampler = (
        None if os.environ.get("OTEL_TRACES_SAMPLER") else ParentBased(TraceIdRatioBased(_SHARE))
    )
    provider = TracerProvider(resource=_resource(), sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _resource() -> "Resource":
    """What OpenTelemetry's variables say of the service; without a name, ours."""
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource

    named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    return Resource.create(None if named else {SERVICE_NAME: "pellucid"})


def _kind() -> Any:
    from opentelemetry.trace import SpanKind

    return SpanKind.SERVER
