"""Small tables, healthy and sick, trained by the real code to see what it says of them."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from pellucid import plan
from pellucid.datasets.content import ARROW_TYPES
from pellucid.errors import TrainingFailed
from pellucid.jobs.workspace import Request, Workspace, read_spool
from pellucid.schema import Role, Schema, StorageType
from pellucid_pipelines import architectures, data
from pellucid_pipelines.diagnostics import curves, labels
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict
from support.training import schema_of

Findings = dict[str, dict[str, Any]]
Change = Callable[[nn.Module], None]


def table(
    task: str = "binary",
    rows: int = 1000,
    columns: int = 8,
    seed: int = 0,
    noise: float = 1.0,
    rare: float | None = None,
) -> dict[str, np.ndarray]:
    """`columns` normal columns and a target `y` that several of them tell, not quite.

    `task`: binary, multiclass (3 classes) or regression. `rare`: the share of the positive class.
    """
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns))
    w = random.normal(size=columns) + np.sign(random.normal(size=columns))
    score = x @ w / np.sqrt(columns) + np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] / 2
    score = score + noise * 0.5 * random.normal(size=rows)
    found = {f"x{i}": x[:, i] for i in range(columns)}
    if task == "regression":
        return found | {"y": score}
    if task == "multiclass":
        return found | {"y": np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))}
    return found | {"y": (score > np.quantile(score, 1 - (rare or 0.5))).astype(np.int64)}


def waves(rows: int = 400, steps: int = 24, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """List columns: a noisy wave, and which of two frequencies it has."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows)
    time = np.arange(steps)[None, :] + random.uniform(0, 9, (rows, 1))
    series = np.sin(time * np.where(y, 0.9, 0.6)[:, None]) + 0.3 * random.normal(size=(rows, steps))
    return {"s": list(scale * series), "y": y}


def diagnose(columns: dict[str, Any], change: Change | None = None, **parts: Any) -> Findings:
    """Train on a table under a plan; code -> finding, as the run would log them.

    Args:
        columns: name -> values, the target is `y`.
        change: of the network, before its first step.
        parts: of the plan.
    """
    spec, schema, examples = prepared(columns, **parts)
    with tempfile.TemporaryDirectory() as directory, _changed(change):
        workspace = Workspace(Path(directory))
        request = Request(
            job_id="j",
            attempt=1,
            plan=spec.model_dump(mode="json"),
            data_schema=schema,
            data_version="d",
            data_path="",
        )
        with Journal(workspace) as journal:
            try:
                network, _ = train(request, spec, examples, torch.device("cpu"), workspace, journal)
            except TrainingFailed:
                network = None
        told = [e["data"] for _, e in read_spool(workspace.events_path) if e["kind"] == "finding"]
    usable = not {each["code"] for each in told} & (curves.OPTIMISATION | {"no_signal"})
    if network is not None and examples.target.classes and usable:
        rows = np.concatenate([examples.parts.validation, examples.parts.test])
        raw = predict(network, examples.rows(rows).inputs)
        probabilities = examples.target.head()(raw).numpy()
        told += [f.as_dict() for f in labels.check(examples.truth(rows), probabilities, rows)]
    return {each["code"]: each for each in told}


def prepared(columns: dict[str, Any], **parts: Any) -> tuple[plan.Plan, Schema, data.Data]:
    """The resolved plan, the schema and the data of a table whose target is `y`."""
    whole = pa.table({k: _column(v) for k, v in columns.items()})
    spec = plan.Plan.parse({"name": "n", "data": {"dataset": "d"}, "target": "y", **parts})
    few = len(set(np.asarray(columns["y"]).tolist())) <= 20
    spec, schema = plan.resolve(spec, schema_of(whole, {"y": Role.TARGET}), 2 if few else None)
    return spec, schema, data.prepare(whole, data.split(whole, spec), schema, spec)


def alarms(findings: Findings) -> dict[str, str]:
    """Code -> message of the findings that are warnings or worse."""
    return {code: f["message"] for code, f in findings.items() if f["severity"] != "info"}


@contextmanager
def _changed(change: Change | None) -> Iterator[None]:
    """Networks are changed as soon as they are built, by initialisation too."""
    build = architectures.build

    def sick(*arguments: Any) -> nn.Module:
        network = build(*arguments)
        if change is not None:
            with torch.no_grad():
                change(network)
        return network

    with mock.patch.object(architectures, "build", sick):
        yield


def _column(values: Any) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, list):
        kind = ARROW_TYPES[StorageType.LIST]
        return pa.array([np.asarray(v).tolist() for v in values], kind)
    kinds = {"i": pa.int64(), "f": pa.float64()}
    return pa.array(values, kinds.get(np.asarray(values).dtype.kind))


def pictures(rows: int = 400, seed: int = 0) -> dict[str, Any]:
    """A column of grey 12 x 12 PNG images: a bright bar that lies or stands."""
    import io

    from PIL import Image

    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows)
    images = []
    for standing in y:
        pixels = random.integers(0, 90, (12, 12)).astype(np.uint8)
        at = random.integers(2, 10)
        pixels[:, at] = np.where(standing, 200, pixels[:, at])
        pixels[at, :] = np.where(standing, pixels[at, :], 200)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="png")
        images.append(content.getvalue())
    return {"image": pa.array(images, ARROW_TYPES[StorageType.BINARY]), "y": y}


def sentences(rows: int = 600, seed: int = 0) -> dict[str, Any]:
    """A column of short texts, and whether more of its words are of the first kind."""
    random = np.random.default_rng(seed)
    words = [np.array(["fine", "good", "sunny"]), np.array(["bad", "grey", "cold"])]
    filler = np.array(["the", "day", "was", "and", "rather", "very", "so", "then"])
    y = random.integers(0, 2, rows)
    texts = []
    for label in y:
        own = random.choice(words[1 - label], 3)
        other = random.choice(words[label], 1)
        chosen = np.concatenate([own, other, random.choice(filler, random.integers(3, 9))])
        texts.append(" ".join(random.permutation(chosen)))
    return {"text": pa.array(texts, ARROW_TYPES[StorageType.STRING]), "y": y}
