"""Traces of inference requests, as an exporter sees them."""

import asyncio
import itertools
import json

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from pellucid_api.plane import traces
from pellucid_api.plane.traces import Traces, provider_of
from support.serving import ROW

PREDICT = "/v1/models/credit/predict"
PARENT = f"00-{7:032x}-{9:016x}-0"


def traced(monkeypatch, share):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(Traces, "configured", classmethod(lambda cls: cls(provider)))
    return exporter


@pytest.mark.parametrize("query", ["", "?x=1"])
def test_a_request_has_its_steps(serve, register, monkeypatch, query):
    exporter = traced(monkeypatch, 1.0)
    register()
    response = serve().post(PREDICT + query, json=[ROW] * 3)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"request", "decode", "queue", "run", "encode"}
    request = spans["request"]
    assert dict(request.attributes) == {
        "pellucid.model": "credit", "pellucid.version": 1, "pellucid.rows": 3,
    }  # fmt: skip
    steps = [spans[name] for name in ("decode", "queue", "run", "encode")]
    for step, following in itertools.pairwise(steps):
        assert step.parent.span_id == request.context.span_id
        assert request.start_time <= step.start_time <= step.end_time <= following.start_time + 1e6
    assert steps[-1].end_time <= request.end_time
    context = request.context
    told = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert response.headers["traceparent"] == told


def test_the_callers_trace_goes_on(serve, register, monkeypatch):
    exporter = traced(monkeypatch, 0.0)
    register()
    client = serve()
    client.post(PREDICT, json=[ROW])
    client.post(PREDICT, json=[ROW], headers={"traceparent": PARENT + "0"})
    assert not exporter.get_finished_spans()
    response = client.post(PREDICT, json=[ROW], headers={"traceparent": PARENT + "1"})
    (request,) = [span for span in exporter.get_finished_spans() if span.name == "request"]
    assert (request.context.trace_id, request.parent.span_id) == (7, 9)
    assert response.headers["traceparent"].startswith(f"00-{7:032x}-")


@pytest.mark.parametrize("given", ["", "00-0-0-0", "zz" * 30, "00-" + "0" * 32 + "-1-01"])
def test_a_broken_traceparent_is_none(serve, register, monkeypatch, given):
    exporter = traced(monkeypatch, 1.0)
    register()
    assert serve().post(PREDICT, json=[ROW], headers={"traceparent": given}).status_code == 200
    (request,) = [span for span in exporter.get_finished_spans() if span.name == "request"]
    assert request.parent is None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "pellucid"),
        ({"OTEL_SERVICE_NAME": "scores"}, "scores"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=risk,team=a"}, "risk"),
    ],
)
def test_the_service_is_named_by_opentelemetrys_variables(monkeypatch, variables, name):
    for key in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(key, raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    provider = provider_of(InMemorySpanExporter())
    assert provider.resource.attributes["service.name"] == name
    provider.shutdown()


def test_what_goes_wrong_is_told(serve, register, monkeypatch):
    exporter = traced(monkeypatch, 1.0)
    register()
    assert serve().post(PREDICT, json=[{}]).status_code == 422
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"request", "decode"}
    assert spans["request"].status.description == "InvalidRows"


def test_a_request_whose_client_leaves_is_told(serve, register, monkeypatch):
    exporter = traced(monkeypatch, 1.0)
    register()
    services = serve().services
    replies = []

    async def leave():
        champion, body = services.pool.champion("credit"), json.dumps([ROW]).encode()
        services.plane.start(services.rows, champion, {}, body, replies.append).cancel()
        async with asyncio.timeout(60):
            while len(exporter.get_finished_spans()) < 3:
                await asyncio.sleep(0.01)

    asyncio.run(leave())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"request", "decode", "queue"}
    assert spans["request"].status.description == "ConnectionAbortedError"
    assert not replies


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"}],
)
def test_without_an_endpoint_there_are_none(serve, monkeypatch, variables):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert serve().services.plane.traces is None


def test_a_missing_exporter_is_named(monkeypatch, caplog):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr(traces, "import_module", missing)
    assert Traces.configured() is None
    assert "pip install 'pellucid[traces]'" in caplog.text


def test_the_sample_is_small_unless_it_is_said(monkeypatch):
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    provider = provider_of(InMemorySpanExporter())
    assert "0.01" in provider.sampler.get_description()
    provider.shutdown()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    provider = provider_of(InMemorySpanExporter())
    assert provider.sampler.get_description() == "AlwaysOnSampler"
    provider.shutdown()
