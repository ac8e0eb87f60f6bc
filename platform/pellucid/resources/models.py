"""Registered models, their versions, and what these have done since they were loaded."""

from datetime import datetime
from typing import Any

from pydantic import Field

from pellucid.resources.base import Resource

MISSING_PROCESSES = (
    "Serving processes, from 0, that did not answer; their part is some seconds old."
)


class ModelSummary(Resource):
    """A registered model."""

    name: str
    aliases: dict[str, int]
    latest: int | None
    serving: list[int] = Field(default_factory=list, description="Versions loaded here, now.")


class ModelVersionDetail(Resource):
    """A version of a model, with what it takes and gives."""

    name: str
    version: int
    run_id: str
    created: str
    aliases: list[str]
    tags: dict[str, str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    classes: list[int | str]
    metrics: dict[str, float]
    data_version: str
    job_id: str


class Quantiles(Resource):
    """Estimates from a histogram's buckets, in seconds."""

    p50: float
    p90: float
    p99: float


class VersionStatistics(Resource):
    """What a version has done since the service first loaded it."""

    version: int
    loaded: bool = Field(description="Whether a process has it in memory now.")
    since: datetime
    requests: int
    succeeded: int
    errors: dict[str, int] = Field(
        description="invalid: does not fit the model; failed: the model raised; refused: the queue "
        "was full; expired, dropped: the time was over, or the client gone, before its turn."
    )
    rows: int = Field(description="Answered.")
    runs: int = Field(description="Of the model, one batch each.")
    rows_per_run: float | None = Field(description="The mean batch.")
    latency: Quantiles | None = Field(description="From arrival to answer.")
    queue: Quantiles | None = Field(description="From arrival to run.")
    compute: Quantiles | None = Field(description="Of a run.")


class ModelStatistics(Resource):
    """What a model's versions have done."""

    model: str
    versions: list[VersionStatistics]
    missing: list[int] = Field(default_factory=list, description=MISSING_PROCESSES)
