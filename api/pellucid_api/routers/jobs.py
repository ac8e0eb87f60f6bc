"""Jobs, trainings and scorings: submit, watch, cancel, retry."""

import hashlib
from typing import Annotated

from fastapi import Header, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from pellucid.errors import Conflict, NotFound
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid.resources import Job, JobStatus, Page
from pellucid_api import submission
from pellucid_api.bodies import PlanBody
from pellucid_api.deps import Cursor, Held, JobId, Limit, ModelName

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
    body: submission.WantedScoring,
    idempotency_key: Key = None,
) -> Job:
    """Submit a scoring: predictions for every row of a data set version, as a job.

    It runs beside the trainings, whether or not the service is up meanwhile. Watch the job under
    `Location`; its predictions are at `/v1/jobs/{job_id}/predictions`.
    """
    job = submission.submit_scoring(services, name, body, idempotency_key)
    _watch(response, job)
    return job


def predictions(services: Held, job_id: JobId) -> FileResponse:
    """Download a scoring's predictions, as Parquet, in the order of the data set's rows."""
    job = services.queue.get(job_id)
    if job.kind != "scoring" or job.status is not JobStatus.SUCCEEDED:
        raise Conflict(
            f"The job, a {job.kind}, is {job.status}: it has no predictions.",
            where={"job": job_id},
            remedy="Only a scoring that has succeeded has.",
        )
    path = Workspace(services.settings.home / "jobs" / job.id).predictions
    if not path.is_file():
        raise NotFound(
            "The predictions are not here.",
            where={"job": job_id},
            remedy="Give every service the same PELLUCID_HOME, or submit the scoring again.",
        )
    media_type, filename = "application/vnd.apache.parquet", f"{job.name}-{job.id}.parquet"
    return FileResponse(path, media_type=media_type, filename=filename)


def list_jobs(
    services: Held,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    name: Annotated[str | None, Query(description="Only jobs of this model.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Job]:
    """List jobs, newest first. The trials of a search are listed with it."""
    return services.queue.list(status=status, name=name, cursor=cursor, limit=limit)


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


def _watch(response: Response, job: Job) -> None:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = _POLL_SECONDS
