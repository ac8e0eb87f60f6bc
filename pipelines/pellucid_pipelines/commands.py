"""`pellucid inspect` and `pellucid lr-range`: commands of the extra `pipelines`."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from pellucid.cli.terminal import Json, connect, console, say, show_facts, show_json
from pellucid.schema import Role

_ARTIFACTS = "figures/inspect"


def inspect(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A job, an MLflow run, NAME/VERSION or NAME@ALIAS.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", help="Keep the figures in this directory, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look into a run's network: figures of its loss landscape, layers, filters and attention.

    They are logged to the run's artifacts under figures/inspect.
    """
    from pellucid.runs import fetch
    from pellucid.settings import Settings
    from pellucid.tracking.mlflow import connect as connect_mlflow
    from pellucid_pipelines.inspection.inspect import draw, rebuild

    tracker, registry = connect_mlflow(Settings.load())
    with (
        tempfile.TemporaryDirectory(prefix="pellucid-") as scratch,
        connect() as client,
        Progress(console=console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("data and weights", total=None)
        found = fetch(run, client, registry, Path(scratch))
        directory = to if to is not None else Path(scratch) / "figures"
        rebuilt = rebuild(found.request, found.bundle)
        drawn = draw(rebuilt, directory, lambda text: progress.update(task, description=text))
        run_id = found.job.run_id
        if run_id is not None:
            progress.update(task, description="logging")
            tracker.log_artifacts(run_id, directory, _ARTIFACTS)
        names = [path.name for path in drawn]
    if as_json:
        show_json({"run": run_id, "artifacts": _ARTIFACTS, "figures": names})
        return
    show_facts([("run", run_id), ("figures", f"{_ARTIFACTS}: {', '.join(names)}")])


def lr_range(
    plan: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The plan, YAML or JSON.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", exists=True, dir_okay=False, help="A file, not yet registered."),
    ] = None,
    figure: Annotated[Path, typer.Option(help="Where to draw the curve.")] = Path("lr_range.png"),
    low: Annotated[float, typer.Option(min=1e-12, help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option(min=1e-12, help="The last learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="Most steps.")] = 200,
    as_json: Json = False,
) -> None:
    """Suggest a learning rate: train briefly while it grows (Smith, 2017); nothing is kept.

    The data are those that the plan names, or a file.
    """
    from pellucid.plan import Plan, resolve
    from pellucid_pipelines.inspection import figures
    from pellucid_pipelines.inspection.lr_range import measure
    from pellucid_pipelines.inspection.sources import from_file, from_service, prepared, request_of

    if not low < high:
        raise typer.BadParameter("--low must be below --high")
    spec = Plan.from_text(plan.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="pellucid-") as scratch:
        if data is not None:
            source = from_file(data, spec, Path(scratch))
        else:
            with connect() as client:
                source = from_service(client, spec, Path(scratch))
        spec, schema = resolve(spec, source.schema, source.classes)
        assert Role.TARGET in {column.role for column in schema.columns}, "a resolved target"
        examples, spec = prepared(request_of(spec, schema, source.path), spec)
        found = measure(spec, examples, low=low, high=high, steps=steps)
    figures.lr_range(found.rates, found.losses, found.suggested, figure)
    facts = {
        "suggested": found.suggested,
        "steepest": found.steepest,
        "diverged": found.diverged,
        "planned": spec.optimizer.lr,
        "steps": len(found.rates),
        "figure": str(figure),
    }
    if as_json:
        show_json(facts)
        return
    show_facts((name, value) for name, value in facts.items() if value is not None)
    say(f"Set optimizer.lr to about {found.suggested:.1g}.")
