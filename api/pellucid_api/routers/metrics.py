"""What the service has done: for Prometheus, and for people."""

from datetime import UTC, datetime
from operator import itemgetter

from fastapi import Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import PlainTextResponse, Response

from pellucid.resources.models import ModelStatistics, VersionStatistics
from pellucid_api.deps import Held, ModelName
from pellucid_api.engine.statistics import Statistics


class ExpositionResponse(PlainTextResponse):
    """Prometheus' text format, or OpenMetrics for whoever asks for that."""


def metrics(request: Request) -> Response:
    """Scrape the metrics of the service."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    body = encode(request.app.state.metrics)
    return Response(body, headers={"content-type": content_type})


def stats(services: Held, name: ModelName) -> ModelStatistics:
    """Show what each version has done since the service first loaded it."""
    census = services.siblings.census()
    done = sorted(census.done.statistics.items(), key=itemgetter(0))
    found = [(number, each) for (model, number), each in done if model == name]
    if not found:
        services.registry.model(name)  # raises if there is none
    loaded = census.versions(name)
    versions = [_version(number, each, number in loaded) for number, each in found]
    return ModelStatistics(model=name, versions=versions, missing=list(census.missing))


def _version(number: int, found: Statistics, loaded: bool) -> VersionStatistics:
    return VersionStatistics(
        version=number,
        loaded=loaded,
        since=datetime.fromtimestamp(found.since, UTC),
        requests=found.requests,
        succeeded=found.succeeded,
        errors=found.errors,
        rows=found.rows,
        runs=found.executions,
        rows_per_run=found.executed_rows / found.executions if found.executions else None,
        latency=found.latency.quantiles(),
        queue=found.queue.quantiles(),
        compute=found.compute.quantiles(),
    )
