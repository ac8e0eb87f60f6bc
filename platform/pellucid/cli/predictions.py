"""`pellucid predictions`."""

from typing import Annotated

import typer

from pellucid.cli.terminal import Json, connect, show_facts, show_json

app = typer.Typer(help="Look at predictions that were answered.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A single command would otherwise stand for the whole group."""


@app.command()
def show(
    prediction_id: Annotated[str, typer.Argument(help="As it came with the prediction.")],
    as_json: Json = False,
) -> None:
    """Show a prediction: what came in and went out, its labels, its version, run and data."""
    with connect() as client:
        found = client.prediction(prediction_id)
    if as_json:
        show_json(found)
        return
    show_facts(
        [
            ("prediction", found.id),
            ("time", found.time.isoformat()),
            ("model", f"{found.model} version {found.version}"),
            ("latency", f"{found.latency_ms:.2f} ms"),
            *((f"input {name}", _short(value)) for name, value in found.inputs.items()),
            *((f"sensitive {name}", _short(value)) for name, value in found.sensitive.items()),
            *((f"output {name}", _short(value)) for name, value in found.outputs.items()),
            *((f"label of {each.time.isoformat()}", each.label) for each in found.labels),
            ("MLflow run", found.run_id),
            ("job", found.job_id),
            ("data", found.data_version),
        ]
    )


def _short(value: object) -> object:
    if isinstance(value, dict) and "datatype" in value:
        return f"{value['datatype']} {value['shape']}"
    text = str(value)
    return value if len(text) <= 80 else f"{text[:77]}..."
