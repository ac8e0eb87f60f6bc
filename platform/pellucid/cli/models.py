"""`pellucid models` and `pellucid predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.rows import Images, RowsFile, Texts, given_rows
from pellucid.cli.scoring import score_as_job, score_file
from pellucid.cli.terminal import (
    Json,
    connect,
    say,
    show_facts,
    show_json,
    show_table,
    show_text,
)

if TYPE_CHECKING:
    from pellucid.resources.models import ModelSummary, Quantiles
    from pellucid.resources.predictions import Prediction, Predictions

app = typer.Typer(help="Look at registered models; promote and roll back.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[int | None, typer.Option(help="Default: the champion.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the models."""
    with connect() as client:
        found = client.models.list()
    if as_json:
        show_json(found)
        return
    show_table(
        ("model", "latest", "aliases", "serving"),
        (
            (model.name, model.latest, _aliases(model), ", ".join(map(str, model.serving)))
            for model in found
        ),
        "No models: a training job registers one.",
    )


@app.command()
def show(name: Name, version: Version = None, as_json: Json = False) -> None:
    """Show a version: what it takes and gives, its metrics, where it came from."""
    with connect() as client:
        summary = client.models.get(name)
        number = version or summary.aliases.get("champion") or summary.latest
        detail = client.models.version(name, number) if number else None
    if as_json:
        show_json(detail or summary)
        return
    show_facts([("model", name), ("aliases", _aliases(summary))])
    if detail is None:
        return
    show_facts(
        [
            ("version", detail.version),
            ("created", detail.created),
            ("data", detail.data_version),
            ("job", detail.job_id),
            ("MLflow run", detail.run_id),
            ("inputs", ", ".join(f"{item['name']} ({item['kind']})" for item in detail.inputs)),
            ("outputs", ", ".join(item["name"] for item in detail.outputs)),
            ("classes", ", ".join(map(str, detail.classes))),
        ]
    )
    show_table(("metric", "test"), detail.metrics.items(), "It has no metrics.")


@app.command()
def card(name: Name, version: Version = None) -> None:
    """Print the model card, in Markdown."""
    with connect() as client:
        show_text(client.models.card(name, version))


@app.command()
def stats(name: Name, as_json: Json = False) -> None:
    """Show what each version has done; times are estimates, as p50 / p90 / p99 in ms."""
    with connect() as client:
        found = client.models.stats(name)
    if as_json:
        show_json(found)
        return
    show_table(
        ("version", "since", "requests", "errors", "rows", "rows/run", "latency", "queue", "run"),
        (
            (
                each.version,
                each.since,
                each.requests,
                sum(each.errors.values()),
                each.rows,
                each.rows_per_run,
                *(_milliseconds(times) for times in (each.latency, each.queue, each.compute)),
            )
            for each in found.versions
        ),
        "No version was loaded yet.",
    )


@app.command()
def promote(
    name: Name,
    version: Annotated[int | None, typer.Argument(min=1, help="Default: the challenger.")] = None,
    as_json: Json = False,
) -> None:
    """Make a version the champion."""
    with connect() as client:
        _show_aliases(client.models.promote(name, version), as_json)


@app.command()
def rollback(name: Name, as_json: Json = False) -> None:
    """Make the previous champion the champion again."""
    with connect() as client:
        _show_aliases(client.models.rollback(name), as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="An ONNX file, its external data beside it.")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    alias: Annotated[
        str | None, typer.Option(help="champion: serve it. challenger, or any other.")
    ] = None,
) -> None:
    """Register an ONNX model that was made elsewhere; the same file again is the same version."""
    from pellucid.settings import Settings
    from pellucid.tracking.imports import import_onnx
    from pellucid.tracking.mlflow import connect as connect_mlflow

    tracker, registry = connect_mlflow(Settings.load())
    version = import_onnx(tracker, registry, file, name, alias)
    say(f"{name} version {version.version}" + (f" is the {alias}" if alias else ""))


def predict(
    name: Annotated[
        str,
        typer.Argument(help="The model's name; of a file or data set also NAME@ALIAS, NAME/3."),
    ],
    rows: RowsFile = None,
    image: Images = None,
    text: Texts = None,
    version: Version = None,
    file: Annotated[
        Path | None, typer.Option(help="Score a whole .parquet or .csv, batch by batch, to --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .parquet or .csv to be written.")] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="A column to keep. Repeatable; default: all but the inputs."),
    ] = None,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows of one request.")] = 10_000,
    job: Annotated[
        bool, typer.Option("--job", help="Register the --file and score it as a job of a worker.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Score a data set, NAME or NAME@VERSION, as a job.")
    ] = None,
    register_as: Annotated[
        str | None, typer.Option(help="The data set that a job's predictions are a version of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict rows of raw columns, images or texts, a whole file, or a data set.

    With --file alone, the same command again goes on where it was interrupted. A job goes on by
    itself; without --out the command does not wait for it.
    """
    if dataset is not None or job:
        source = dataset or file
        if source is None or (dataset and file):
            raise typer.BadParameter("name a --file or a --dataset")
        score_as_job(name, source, out, tuple(ids) if ids else None, version, register_as)
        return
    if file is not None:
        if out is None:
            raise typer.BadParameter("--file needs --out")
        score_file(name, file, out, tuple(ids) if ids else None, batch_rows, version)
        return
    with connect() as client:
        answer = client.predict(name, given_rows(client, name, version, rows, image, text), version)
    if as_json:
        show_json(answer)
    else:
        _show_answer(answer)


def _show_answer(answer: "Predictions") -> None:
    say(f"{answer.model} version {answer.version}")
    first = answer.predictions[0]
    classes, outputs = list(first.probabilities or {}), list(first.outputs or {})
    outcomes = outputs or (["label"] if classes else ["value"])
    show_table(
        (*outcomes, *(f"p({name})" for name in classes), "prediction id"),
        (_cells(prediction, classes) for prediction in answer.predictions),
        "No rows.",
    )


def _cells(prediction: "Prediction", classes: list[str]) -> list[object]:
    if prediction.outputs is not None:
        return [*(json.dumps(each) for each in prediction.outputs.values()), prediction.id]
    value = prediction.value
    outcome: object = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
    if prediction.label is not None:
        outcome = str(prediction.label)
    probabilities = prediction.probabilities or {}
    return [outcome, *(probabilities[name] for name in classes), prediction.id]


def _aliases(model: "ModelSummary") -> str:
    return ", ".join(f"{alias} = {number}" for alias, number in sorted(model.aliases.items()))


def _milliseconds(found: "Quantiles | None") -> str:
    if found is None:
        return ""
    return " / ".join(f"{1000 * seconds:.3g}" for seconds in (found.p50, found.p90, found.p99))


def _show_aliases(model: "ModelSummary", as_json: bool) -> None:
    if as_json:
        show_json(model)
    else:
        show_facts([("model", model.name), ("aliases", _aliases(model))])
