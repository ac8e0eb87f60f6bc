"""What benchmarks share: one plan, trained on given rows."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from pellucid.datasets.content import storage_type
from pellucid.datasets.splits import Parts
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Column, Role, Schema
from pellucid_pipelines import data, environment, windows
from pellucid_pipelines.data import Data
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
_CPU = torch.device("cpu")
_VERSIONS = ("python", "pellucid", "torch", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Fitted:
    """A trained network at its best, and what it was trained on."""

    request: Request
    spec: Plan
    examples: Data
    network: nn.Module
    epochs: int
    cpu_seconds: float


@dataclass(frozen=True)
class Run:
    """Truth and prediction of the test rows, and what it took."""

    examples: Data
    truth: np.ndarray
    prediction: np.ndarray
    epochs: int
    cpu_seconds: float

    @property
    def accuracy(self) -> float:
        """Share of test rows whose most probable class is the true one."""
        return float((self.prediction.argmax(1) == self.truth).mean())


def fitted(
    table: pa.Table, roles: dict[str, Role], content: dict[str, object], parts: Parts | None = None
) -> Fitted:
    """Train what a plan says, on these parts or on the plan's own."""
    spec = Plan.parse({"name": "benchmark", "data": {"dataset": "benchmark"}} | content)
    spec, schema = resolve(spec, schema_of(table, roles))
    table, schema, spec = windows.widen(table, schema, spec)
    examples = data.prepare(table, parts or data.split(table, spec), schema, spec)
    request = Request(
        job_id="benchmark",
        attempt=1,
        plan=spec.model_dump(mode="json"),
        data_schema=schema,
        data_version="benchmark",
        data_path="",
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        workspace = Workspace(Path(directory))
        with Journal(workspace) as journal:
            network, state = train(request, spec, examples, _CPU, workspace, journal)
    seconds = time.process_time() - started
    return Fitted(request, spec, examples, network, state.epoch, seconds)


def trained(
    table: pa.Table, roles: dict[str, Role], content: dict[str, object], parts: Parts | None = None
) -> Run:
    """The same, judged on the test rows."""
    found = fitted(table, roles, content, parts)
    examples, test = found.examples, found.examples.parts.test
    raw = predict(found.network, examples.rows(test).inputs)
    prediction = examples.target.head()(raw).numpy()
    return Run(examples, examples.truth(test), prediction, found.epochs, found.cpu_seconds)


def schema_of(table: pa.Table, roles: dict[str, Role]) -> Schema:
    """The schema of a table of canonical types."""
    return Schema(
        columns=tuple(
            Column(name=f.name, type=storage_type(f.type), role=roles.get(f.name, Role.FEATURE))
            for f in table.schema
        )
    )


def footer() -> list[str]:
    """Where and with what the figures were measured."""
    versions = environment.versions()
    named = ", ".join(f"{key} {versions[key]}" for key in _VERSIONS if key in versions)
    return ["", f"CPU seconds are those of training, on {environment.cpu_name()}. {named}."]


def write(name: str, lines: list[str]) -> None:
    """Print a table and write it to `results/`."""
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
