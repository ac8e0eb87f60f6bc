"""Whole runs in small: data, a network and its explained rows, for what comes after training."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from pellucid import plan
from pellucid.datasets.splits import Parts
from pellucid.jobs.workspace import Workspace
from pellucid.schema import Role
from pellucid_pipelines import architectures
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain import Explained, explain
from pellucid_pipelines.preprocessing import FITTERS
from pellucid_pipelines.tensors import Target
from support.inputs import example
from support.training import a_plan, schema_of

ROLES = {"y": Role.TARGET, "group": Role.SENSITIVE}
NETWORKS = {
    "tabular": plan.Mlp(widths=(8,)),
    "image": plan.Cnn(widths=(4,), blocks=1),
    "sequence": plan.Gru(width=8),
    "text": plan.BagOfWords(width=8, buckets=64),
}


@dataclass(frozen=True)
class Finished:
    """What a run has before it is explained as a whole."""

    spec: plan.Plan
    examples: Data
    network: nn.Module
    explained: Explained


def data_of(table: pa.Table, task: str, modality: plan.Modality = "tabular") -> Data:
    """Half of the rows to learn from, half to test on."""
    schema = schema_of(table, {name: ROLES[name] for name in ROLES if name in table.column_names})
    columns = schema.having(Role.FEATURE)
    spec = plan.Preprocessing(text=plan.Texts(vocabulary=300, length=8))
    fitted = FITTERS[modality].fit(table, columns, spec)
    target = Target.fit(table["y"], "y", task, None)
    train, test = np.array_split(np.arange(len(table)), 2)
    return Data(table, Parts(train, test[:0], test), schema, fitted, target, None)


@functools.cache
def finished(
    modality: plan.Modality, task: str, rows: int = 64, explain_rows: int = 24
) -> Finished:
    """A run on `inputs.example` with a network of random weights, and a sensitive column.

    The same one for every test that asks: leave it as it is.
    """
    table = example(modality, task, rows).table
    table = table.append_column("group", pa.array([["a", "b", None][i % 3] for i in range(rows)]))
    examples = data_of(table, "regression" if task == "regression" else "classification", modality)
    torch.manual_seed(0)
    target, seed = examples.target, 0
    network = architectures.build(
        NETWORKS[modality], examples.features(seed), target.outputs, target.link
    ).eval()
    spec = a_plan(
        explanation={"rows": explain_rows, "background": 12}, evaluation={"resamples": 100}
    )
    explained = explain(
        network,
        examples.preprocessing,
        target,
        examples.sample(examples.parts.train, 12, seed),
        examples.sample(examples.parts.test, explain_rows, seed),
        spec.explanation,
        seed,
    )
    return Finished(spec, examples, network, explained)


def a_workspace(root: Path) -> Workspace:
    """A job's directory with a place for outputs."""
    workspace = Workspace(root)
    workspace.outputs.mkdir(parents=True)
    return workspace
