"""`pellucid train` and `pellucid jobs`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from pellucid.cli.terminal import (
    Cursor,
    Json,
    Limit,
    connect,
    console,
    say,
    say_next,
    show_facts,
    show_json,
    show_table,
    show_text,
)
from pellucid.errors import Conflict, InvalidPlan, PellucidError

if TYPE_CHECKING:
    from pellucid.client import Client
    from pellucid.resources.jobs import Job

app = typer.Typer(help="Look at jobs, cancel and retry them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def train(
    plan: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="YAML or JSON file.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the plan's JSON Schema.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="With --schema: as a page of Markdown.")
    ] = False,
    following: Annotated[
        bool | None,
        typer.Option("--follow/--detach", help="Wait and show progress. Default: on a terminal."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key again is the same job.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit a training job."""
    from pellucid.plan import Plan

    if schema and markdown:
        from pellucid.plan import reference

        show_text(reference.markdown())
        return
    if schema:
        show_json(Plan.json_schema())
        return
    if plan is None:
        raise typer.BadParameter("name a plan's file, or ask for --schema")
    try:
        parsed = Plan.from_text(plan.read_text(encoding="utf-8"))
    except (InvalidPlan, UnicodeDecodeError) as error:
        raise _in_file(error, plan) from error
    with connect() as client:
        job = client.jobs.submit(parsed.model_dump(mode="json", exclude_unset=True), key)
        follows = sys.stderr.isatty() if following is None else following
        if follows:
            say(f"Job {job.id} is {job.status}.")
            _follow(client, job.id, as_json)
            return
    if as_json:
        show_json(job)
    else:
        say(f"Job {job.id} is {job.status}. Watch it: pellucid jobs follow {job.id}")


@app.command("list")
def list_(
    status: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed, canceled or pruned.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="training, search, scoring or explanation.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    from pellucid.resources.jobs import JobKind, JobStatus

    if status and status not in list(JobStatus):
        raise typer.BadParameter(f"{status!r} is none of {', '.join(JobStatus)}")
    wanted = next((each for each in get_args(JobKind) if each == kind), None)
    if kind and wanted is None:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(get_args(JobKind))}")
    state = JobStatus(status) if status else None
    with connect() as client:
        page = client.jobs.list(state, name, cursor, limit, kind=wanted)
    if as_json:
        show_json(page)
        return
    show_table(
        ("job", "kind", "model", "status", "attempt", "version", "created", "reason"),
        (
            (
                job.id,
                job.kind,
                job.name,
                job.status.value,
                job.attempt,
                job.model_version,
                f"{job.created_at:%Y-%m-%d %H:%M}",
                job.reason,
            )
            for job in page.items
        ),
        "No jobs: `pellucid train PLAN.yaml` submits one.",
    )
    say_next(page.next_cursor)


@app.command()
def show(job_id: JobId, as_json: Json = False) -> None:
    """Show a job."""
    with connect() as client:
        job = client.jobs.get(job_id)
    _show(job, as_json)


@app.command()
def trials(job_id: JobId, cursor: Cursor = None, limit: Limit = 50, as_json: Json = False) -> None:
    """List the trials of a search, newest first."""
    with connect() as client:
        search, page = client.jobs.get(job_id), client.jobs.trials(job_id, cursor, limit)
    if as_json:
        show_json(page)
        return
    metric = search.progress.get("metric", "loss")
    show_table(
        ("trial", "job", "status", metric, "values", "reason"),
        (
            (
                job.trial,
                job.id,
                job.status.value + (" (best)" if job.id == search.winner else ""),
                job.result.get("validation", {}).get(metric),
                ", ".join(f"{path} = {value}" for path, value in job.params.items()),
                job.reason,
            )
            for job in page.items
        ),
        "No trials: the job is no search, or has only just begun.",
    )
    say_next(page.next_cursor)


@app.command()
def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job; a running one ends within seconds."""
    with connect() as client:
        _show(client.jobs.cancel(job_id), as_json)


@app.command()
def retry(job_id: JobId, as_json: Json = False) -> None:
    """Queue a failed or canceled job again; it goes on from its checkpoint."""
    with connect() as client:
        _show(client.jobs.retry(job_id), as_json)


@app.command()
def logs(
    job_id: JobId,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> None:
    """Print what the job's process wrote."""
    with connect() as client:
        for line in client.jobs.logs(job_id, follow=following):
            show_text(line)


@app.command("follow")
def follow_(job_id: JobId, as_json: Json = False) -> None:
    """Show a job's progress until it has ended."""
    with connect() as client:
        _follow(client, job_id, as_json)


@app.command()
def predictions(
    job_id: JobId,
    out: Annotated[Path, typer.Option(help="A .parquet or .csv to be written.")],
) -> None:
    """Download what a scoring has predicted."""
    from pellucid.cli.scoring import download

    with connect() as client:
        download(client.jobs.download_predictions, job_id, out)


@app.command()
def explanations(
    job_id: JobId,
    out: Annotated[Path, typer.Option(help="A .parquet or .csv to be written.")],
) -> None:
    """Download the SHAP values of an explanation."""
    from pellucid.cli.scoring import download

    with connect() as client:
        download(client.jobs.download_explanations, job_id, out)


def ended(client: "Client", job_id: str) -> "Job":
    """The job once it has ended, its progress told on stderr."""
    from pellucid.cli.follow import follow

    try:
        return follow(client, job_id, console(stderr=True))
    except KeyboardInterrupt:
        say(f"The job goes on. pellucid jobs follow {job_id}, or pellucid jobs cancel {job_id}")
        raise typer.Exit(130) from None


def require_success(job: "Job") -> None:
    """Raise `Conflict` if the job ended otherwise."""
    if job.status != "succeeded":
        raise Conflict(
            f"The job {job.status}: {job.reason}",
            where={"job": job.id},
            remedy=f"`pellucid jobs logs {job.id}` shows what it wrote.",
        )


def _follow(client: "Client", job_id: str, as_json: bool) -> None:
    job = ended(client, job_id)
    _show(job, as_json)
    require_success(job)


def _show(job: "Job", as_json: bool) -> None:
    if as_json:
        show_json(job)
        return
    version = job.model_version and f"{job.name} version {job.model_version}"
    show_facts(
        (name, value)
        for name, value in (
            ("job", job.id),
            ("model", version or job.name),
            ("status", f"{job.status}: {job.reason}"),
            ("attempt", f"{job.attempt} of at most {job.max_attempts}"),
            ("search", job.parent_id and f"trial {job.trial} of {job.parent_id}"),
            ("best trial", job.winner),
            ("data", job.data_version),
            ("worker", job.worker),
            ("MLflow run", job.run_id),
            ("created", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("finished", job.finished_at and f"{job.finished_at:%Y-%m-%d %H:%M:%S} UTC"),
        )
        if value is not None
    )
    metrics = job.result.get("metrics", {})
    if metrics:
        show_table(("metric", "test"), metrics.items(), "")


def _in_file(error: InvalidPlan | UnicodeDecodeError, file: Path) -> PellucidError:
    if isinstance(error, UnicodeDecodeError):
        return InvalidPlan(
            f"The plan is not UTF-8: {error.reason} at byte {error.start}.",
            where={"file": str(file)},
            remedy="Save the file as UTF-8.",
        )
    return InvalidPlan(error.message, where={"file": str(file)} | error.where, remedy=error.remedy)
