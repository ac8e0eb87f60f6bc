"""`pellucid reproduce`: run a run again, and name the first input that differs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.bundle import PROVENANCE
from pellucid.cli.terminal import (
    Json,
    connect,
    console,
    require_extra,
    say,
    show_json,
    show_table,
    show_text,
)
from pellucid.errors import Conflict, TrainingFailed

if TYPE_CHECKING:
    from pellucid.jobs.workspace import Workspace
    from pellucid.provenance import Difference, Provenance
    from pellucid.runs import Run

_SHOWN = 48  # characters of a value


def reproduce(
    run: Annotated[
        str, typer.Argument(help="A job, an MLflow run, NAME/VERSION or NAME@ALIAS.", metavar="RUN")
    ],
    as_json: Json = False,
) -> None:
    """Train a run again, here, and compare it with the first time.

    Nothing is registered. The exit code is 0 where the weights are the same, bit by bit.
    """
    require_extra("torch", "pipelines")
    from pellucid.provenance import Provenance, differences
    from pellucid.runs import fetch
    from pellucid.settings import Settings
    from pellucid.tracking.mlflow import connect as connect_mlflow

    with tempfile.TemporaryDirectory(prefix="pellucid-") as scratch, connect() as client:
        _, registry = connect_mlflow(Settings.load())
        found = fetch(run, client, registry, Path(scratch))
        before = Provenance.read(found.bundle.root / PROVENANCE)
        after = _again(found, before, Path(scratch) / "again")
    inputs = list(differences(before.inputs, after.inputs))
    outcome = list(differences(before.outcome, after.outcome))
    if as_json:
        named = {"inputs": inputs, "outcome": outcome}
        show_json({k: [each._asdict() for each in found] for k, found in named.items()})
    else:
        _show(inputs, outcome)
    if outcome:
        raise Conflict(
            f"The outcome differs: {', '.join(each.name for each in outcome)}.",
            remedy=_remedy(inputs),
        )


def _again(run: "Run", before: "Provenance", directory: Path) -> "Provenance":
    """Train in a directory of its own, on as many threads as the first time."""
    from pellucid.jobs.workspace import Workspace
    from pellucid.provenance import Provenance

    workspace = Workspace(directory)
    workspace.write_request(run.request)
    environment = {"OMP_NUM_THREADS": before.inputs.get("threads", "1")} | os.environ
    command = [sys.executable, "-m", "pellucid_pipelines.train", str(directory)]
    with console(stderr=True).status(f"Training {run.job.name} again"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise _failed(workspace, done.stderr)
    return Provenance.read(workspace.bundle / PROVENANCE)


def _failed(workspace: "Workspace", log: str) -> TrainingFailed:
    error = workspace.read_error() or {"message": "The training process crashed."}
    return TrainingFailed(
        f"It cannot be trained again: {error['message']}",
        where=error.get("where"),
        remedy=error.get("remedy") or "\n".join(log.splitlines()[-5:]),
    )


def _show(inputs: "list[Difference]", outcome: "list[Difference]") -> None:
    if inputs:
        first = inputs[0]
        say(f"The first input that differs: {first.name}")
        rows = [(each.name, _short(each.before), _short(each.after)) for each in inputs]
        show_table(("input", "then", "now"), rows, "")
    else:
        say("Every input is the same.")
    if not outcome:
        show_text("Reproduced: losses and weights are the same, bit by bit.")


def _remedy(inputs: "list[Difference]") -> str:
    if inputs:
        return f"Look at {inputs[0].name} first: it is the first input that differs."
    return (
        "Every recorded input is the same: on a GPU set training.deterministic; otherwise "
        "please report it."
    )


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]}..."
