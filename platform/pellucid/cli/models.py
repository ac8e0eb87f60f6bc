"""`pellucid models` and `pellucid predict`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.terminal import (
    Json,
    connect,
    say,
    show_facts,
    show_json,
    show_table,
    show_text,
)
from pellucid.errors import InvalidRows

if TYPE_CHECKING:
    from pellucid.resources import ModelSummary, Prediction

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
def promote(
    name: Name, version: Annotated[int, typer.Argument(min=1)], as_json: Json = False
) -> None:
    """Make a version the champion."""
    with connect() as client:
        _show_aliases(client.models.promote(name, version), as_json)


@app.command()
def rollback(name: Name, as_json: Json = False) -> None:
    """Make the previous champion the champion again."""
    with connect() as client:
        _show_aliases(client.models.rollback(name), as_json)


def predict(
    name: Name,
    rows: Annotated[
        Path,
        typer.Argument(help="A JSON object or list of objects, or a CSV file; - is stdin (JSON)."),
    ],
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Predict rows of raw columns."""
    with connect() as client:
        answer = client.predict(name, _read_rows(rows), version)
    if as_json:
        show_json(answer)
        return
    say(f"{answer.model} version {answer.version}")
    classes = list(answer.predictions[0].probabilities or {}) if answer.predictions else []
    outcome = "label" if classes else "value"
    show_table(
        (outcome, *(f"p({name})" for name in classes), "prediction id"),
        (_cells(prediction, classes) for prediction in answer.predictions),
        "No rows.",
    )


def _cells(prediction: "Prediction", classes: list[str]) -> list[object]:
    outcome = prediction.value if prediction.label is None else str(prediction.label)
    probabilities = prediction.probabilities or {}
    return [outcome, *(probabilities[name] for name in classes), prediction.id]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in a file.

    Raises:
        InvalidRows: the file cannot be read, or holds something else than rows.
    """
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError) as error:  # broken JSON, CSV and UTF-8 are ValueErrors
        raise InvalidRows(f"No rows can be read: {error}.", where={"file": str(path)}) from error
    rows = value.get("rows", value) if isinstance(value, dict) else value
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidRows(
            "The file holds neither an object nor a list of objects.",
            where={"file": str(path)},
            remedy='One row is {"column": value, ...}.',
        )
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    from pyarrow import csv

    rows: list[dict[str, Any]] = csv.read_csv(
        path, convert_options=csv.ConvertOptions(strings_can_be_null=True)
    ).to_pylist()
    return [{name: _json_safe(value) for name, value in row.items()} for row in rows]


def _json_safe(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return None if value != value else value
    return value.isoformat()


def _aliases(model: "ModelSummary") -> str:
    return ", ".join(f"{alias} = {number}" for alias, number in sorted(model.aliases.items()))


def _show_aliases(model: "ModelSummary", as_json: bool) -> None:
    if as_json:
        show_json(model)
    else:
        show_facts([("model", model.name), ("aliases", _aliases(model))])
