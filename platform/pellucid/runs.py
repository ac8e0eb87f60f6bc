"""A finished run, brought here whole: to look into it, or to run it again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.errors import Conflict, InvalidData, NotFound
from pellucid.jobs.workspace import Request
from pellucid.plan import Plan, resolve

if TYPE_CHECKING:
    from pellucid.client import Client
    from pellucid.resources.jobs import Job
    from pellucid.tracking.contract import Registry


@dataclass(frozen=True)
class Run:
    """A job that succeeded, what it was asked for, and what it made."""

    job: "Job"
    request: Request  # its data_path is here
    bundle: Bundle


def fetch(reference: str, client: "Client", registry: "Registry", directory: Path) -> Run:
    """Bring a run's data and bundle into a directory.

    Args:
        reference: a job's id, an MLflow run's id, `NAME/VERSION` or `NAME@ALIAS`.
        client: of the service that ran it.
        registry: holds the bundle.
        directory: gets `data.parquet`, `bundle/` and, of what training started from, `initial/`.

    Raises:
        NotFound: there is no such run.
        Conflict: it has made no version.
        InvalidData: what came is not what was registered.
    """
    job = _job(reference, client)
    if job.model_version is None:
        raise Conflict(
            f"Job {job.id} has {job.status} and made no model version.", where={"job": job.id}
        )
    plan = Plan.parse(job.plan)
    dataset = client.datasets.get(plan.data.dataset)
    if dataset.sha256 != job.data_version:
        raise InvalidData(
            f"{plan.data.dataset} is not the content that the job was trained on.",
            where={"job": job.id, "dataset": plan.data.dataset},
        )
    data, bundle = directory / "data.parquet", directory / "bundle"
    client.datasets.download(plan.data.dataset, data)
    registry.download(job.name, job.model_version, bundle)
    weights = None
    if plan.transfer is not None and plan.transfer.number is not None:
        weights = str(directory / "initial" / WEIGHTS)
        registry.download(plan.transfer.name, plan.transfer.number, directory / "initial")
    plan, schema = resolve(plan, dataset.data_schema)
    request = Request(
        job_id=job.id,
        attempt=job.attempt,
        plan=plan.model_dump(mode="json"),
        data_schema=schema,
        data_version=job.data_version,
        data_path=str(data),
        weights_path=weights,
    )
    return Run(job, request, Bundle.open(bundle))


def _job(reference: str, client: "Client") -> "Job":
    name, _, version = reference.partition("/")
    if version.isdigit():
        return client.jobs.get(client.models.version(name, int(version)).job_id)
    name, _, alias = reference.partition("@")
    if alias:
        aliases = client.models.get(name).aliases
        if alias not in aliases:
            raise NotFound(
                f"{name} has no alias {alias!r}.",
                where={"model": name},
                remedy=f"It has: {', '.join(aliases) or 'none'}.",
            )
        return client.jobs.get(client.models.version(name, aliases[alias]).job_id)
    try:
        return client.jobs.get(reference)
    except NotFound as error:
        return _job_of_run(reference, client, error)


def _job_of_run(run_id: str, client: "Client", error: NotFound) -> "Job":
    cursor = None
    while True:
        page = client.jobs.list(cursor=cursor, limit=500)
        for job in page.items:
            if job.run_id == run_id:
                return job
        cursor = page.next_cursor
        if cursor is None:
            raise NotFound(
                f"There is no job and no run {run_id!r}.",
                where=error.where,
                remedy="Name a job, an MLflow run, NAME/VERSION or NAME@ALIAS: see "
                "`pellucid jobs list`.",
            )
