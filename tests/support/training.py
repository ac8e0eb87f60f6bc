"""Small things that tests of the pipelines train."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pellucid import plan
from pellucid.datasets.content import storage_type
from pellucid.jobs.workspace import Request
from pellucid.schema import Column, Role, Schema
from pellucid_pipelines import architectures, losses
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import seed_of

WIDTH = 6


def a_plan(**parts: Any) -> plan.Plan:
    """A small plan: 2 x 8 units, 6 epochs, batches of 32."""
    small = {
        "name": "small",
        "data": {"dataset": "toy"},
        "model": {"kind": "mlp", "widths": [8, 8], "dropout": 0.2},
        "training": {"epochs": 6, "batch_size": 32, "checkpoint_seconds": 0},
    }
    for key, value in parts.items():
        merge = isinstance(value, dict) and key in ("model", "training")
        small[key] = {**small[key], **value} if merge else value
    return plan.Plan.parse(small)


def toy_rows(count: int = 150, seed: int = 0) -> Rows:
    """Two classes that a line through the first two inputs separates, mostly."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, WIDTH, generator=generator)
    noise = 0.5 * torch.randn(count, generator=generator)
    return Rows(inputs, (inputs[:, 0] - inputs[:, 1] + noise > 0).float())


def a_fit(spec: plan.Plan, callbacks: Sequence[Callback] = (), train: Rows | None = None) -> Fit:
    """A fit of the toy rows under a plan, early stopping included."""
    torch.manual_seed(seed_of("network", spec.training.seed))
    return Fit(
        architectures.build(spec.model, Features.tabular(WIDTH), 1),
        losses.binary_cross_entropy,
        train or toy_rows(),
        toy_rows(60, seed=1),
        spec,
        device=torch.device("cpu"),
        callbacks=[EarlyStopping(spec.training.patience, spec.training.min_delta), *callbacks],
    )


def a_request(spec: plan.Plan, schema: Schema, path: Path | str = "") -> Request:
    """What a training process is asked: a resolved plan, on the Parquet file at a path."""
    return Request(
        job_id="j1",
        attempt=1,
        plan=spec.model_dump(mode="json"),
        data_schema=schema,
        data_version="0" * 64,
        data_path=str(path),
    )


def schema_of(table: pa.Table, roles: Mapping[str, Role]) -> Schema:
    """The schema of a table whose columns are of canonical types."""
    return Schema(
        columns=tuple(
            Column(name=f.name, type=storage_type(f.type), role=roles.get(f.name, Role.FEATURE))
            for f in table.schema
        )
    )
