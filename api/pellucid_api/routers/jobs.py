"""Jobs of every kind: submit, watch, cancel, retry."""

import hashlib
from typing import Annotated

from fastapi import Header, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from pellucid.errors import Conflict, NotFound
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid.plan.batch import BatchPlan, ExplanationPlan, ScoringPlan
from pellucid.resources.base import Page
from pellucid.resources.jobs import Job, JobKind, JobStatus
from pellucid_api import batch_submission, submission
from pellucid_api.bodies import PlanBody
from pellucid_api.deps import Cursor, Held, JobId, Limit, ModelName
from pellucid_api.services import Services

_POLL_SECONDS = "2"
_EXAMPLE = {
    "name": "credit",
    "data": {"dataset": "credit"},
    "target": "bad",
    "training": {"epochs": 50},
}
PLAN_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"$ref": "#/components/schemas/Plan"}, "example": _EXAMPLE}
            for kind in ("application/json", "application/yaml")
        },
    }
}
PLAN_SCHEMAS = Plan.model_json_schema(ref_template="#/components/schemas/{model}")


Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key with the same body is the same job, however often sent.",
    ),
]


async def submit(
    response: Response, services: Held, plan: PlanBody, idempotency_key: Key = None
) -> Job:
    """Submit a training job.

    The plan is checked against its data set before it is queued: unknown keys and columns, values
    out of bounds, a task that does not fit the target. Watch the job under `Location`.
    """
    job = await run_in_threadpool(submission.submit, services, plan, idempotency_key)
    _watch(response, job)
    return job


def submit_scoring(
    response: Response,
    services: Held,
    name: ModelName,
    body: batch_submission.WantedScoring,
    idempotency_key: Key = None,
) -> Job:
    """Submit a scoring: predictions for every row of a data set version, as a job.

    It runs beside the trainings, whether or not the service is up meanwhile. Watch the job under
    `Location`; its predictions are at `/v1/jobs/{job_id}/predictions`.
    """
    job = batch_submission.submit_scoring(services, name, body, idempotency_key)
    _watch(response, job)
    return job


def submit_explanation(
    response: Response,
    services: Held,
    name: ModelName,
    body: batch_submission.WantedExplanation,
    idempotency_key: Key = None,
) -> Job:
    """Submit an explanation: SHAP values for every row of a data set version, as a job.

    It is to a scoring what `/explain` is to `/predict`. Its values are at
    `/v1/jobs/{job_id}/explanations`.
    """
    job = batch_submission.submit_explanation(services, name, body, idempotency_key)
    _watch(response, job)
    return job


def predictions(services: Held, job_id: JobId) -> FileResponse:
    """Download a scoring's predictions, as Parquet, in the order of the data set's rows."""
    return _download(services, job_id, "scoring", ScoringPlan)


def explanations(services: Held, job_id: JobId) -> FileResponse:
    """Download an explanation's SHAP values, as Parquet, in the order of the data set's rows."""
    return _download(services, job_id, "explanation", ExplanationPlan)


def list_jobs(
    services: Held,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    name: Annotated[str | None, Query(description="Only jobs of this model.")] = None,
    kind: Annotated[JobKind | None, Query(description="Only jobs of this kind.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Job]:
    """List jobs, newest first. The trials of a search are listed with it."""
    return services.queue.list(status=status, name=name, kind=kind, cursor=cursor, limit=limit)


def trials(services: Held, job_id: JobId, cursor: Cursor = None, limit: Limit = 50) -> Page[Job]:
    """List the trials of a search, newest first.

    Each is a job, with the values that it tries under `params`.
    """
    services.queue.get(job_id)
    return services.queue.list(parent=job_id, cursor=cursor, limit=limit)


def show(request: Request, services: Held, job_id: JobId) -> Response:
    """Show a job.

    `ETag` names the state that is shown; `If-None-Match` with it is answered 304 as long as nothing
    has changed.
    """
    job = services.queue.get(job_id)
    content = job.model_dump_json()
    tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag}
    if not job.status.final:
        headers["Retry-After"] = _POLL_SECONDS
    known = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, f"W/{tag}", "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


def cancel(response: Response, services: Held, job_id: JobId) -> Job:
    """Cancel a job.

    A queued job ends at once, a running one within seconds. Asking again, or for a job that has
    ended, changes nothing.
    """
    job = services.queue.cancel(job_id)
    _watch(response, job)
    return job


def retry(response: Response, services: Held, job_id: JobId) -> Job:
    """Queue a failed or canceled job again; it goes on from its last checkpoint."""
    job = services.queue.retry(job_id)
    _watch(response, job)
    return job


def _download(
    services: Services, job_id: str, kind: JobKind, plan: type[BatchPlan]
) -> FileResponse:
    """The file that a job of this kind has made."""
    job = services.queue.get(job_id)
    if job.kind != kind or job.status is not JobStatus.SUCCEEDED:
        raise Conflict(
            f"The job, {_a(job.kind)}, is {job.status}: it has no {plan.answers}.",
            where={"job": job_id},
            remedy=f"Only {_a(kind)} that has succeeded has.",
        )
    path = Workspace(services.settings.home / "jobs" / job.id).answers(plan)
    if not path.is_file():
        raise NotFound(
            f"The {plan.answers} are not here.",
            where={"job": job_id},
            remedy=f"Submit the {kind} again: files are removed after PELLUCID_JOB_DAYS. If they "
            "are newer, give every service the same PELLUCID_HOME.",
        )
    media_type, filename = "application/vnd.apache.parquet", f"{job.name}-{job.id}.parquet"
    return FileResponse(path, media_type=media_type, filename=filename)


def _a(kind: JobKind) -> str:
    return f"{'an' if kind == 'explanation' else 'a'} {kind}"


def _watch(response: Response, job: Job) -> None:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = _POLL_SECONDS
