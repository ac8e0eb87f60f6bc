"""Jobs and what happens to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from pellucid.resources.base import Resource


class JobStatus(StrEnum):
    """A job's state. `queued` and `running` go on; the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    PRUNED = "pruned"  # a trial that its search gave up

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


JobKind = Literal["training", "search", "scoring", "explanation"]
BATCH_KINDS: tuple[JobKind, ...] = ("scoring", "explanation")
"""Jobs that take a model over a data set: they measure nothing, and so have no run."""
ExplanationMethod = Literal["auto", "graph", "permutation"]


class Job(Resource):
    """A plan plus its lifecycle: of a training, a search, a scoring, or an explanation.

    A search has trials, which are jobs too.
    """

    id: str
    name: str = Field(description="The model's name in the plan.")
    status: JobStatus
    reason: str = Field(description="Why it is in this state, in a sentence.")
    plan: dict[str, Any] = Field(
        description="Resolved: every default filled in. Of a search: as given, on a fixed version. "
        "Of a scoring: model, version, dataset, keep, register_as; of an explanation also method, "
        "rows, permutations."
    )
    data_version: str
    attempt: int = Field(description="Attempts started so far.")
    max_attempts: int
    cancel_requested: bool
    kind: JobKind = "training"
    parent_id: str | None = Field(default=None, description="The search that a trial belongs to.")
    trial: int | None = Field(default=None, description="A trial's number, from 0.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="What the search chose for a trial: path -> value."
    )
    winner: str | None = Field(default=None, description="The job of a search's best trial.")
    worker: str | None = None
    run_id: str | None = Field(default=None, description="The MLflow run.")
    model_version: int | None = Field(default=None, description="The registered version.")
    progress: dict[str, Any] = Field(default_factory=dict, description="The newest progress event.")
    result: dict[str, Any] = Field(
        default_factory=dict,
        description="Test metrics and promotion. Of a scoring: rows, bytes, dataset; of an "
        "explanation also how many rows by which method, and the largest gap.",
    )
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Event(Resource):
    """Something that happened to a job. `seq` counts from 1 within the job.

    Kinds: state, stage, progress, environment, transfer, finding, trial, log, result.
    """

    seq: int
    time: datetime
    kind: str
    data: dict[str, Any]
