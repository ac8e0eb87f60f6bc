"""Small real bundles that explain themselves: linear networks, whose SHAP values are known.

The value of an input is its weight times its distance from the background's mean. The graphs come
from the real export; only the attribution is replaced, by that formula.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid.bundle import CARD, EXPLAINER, Bundle, Explanation
from pellucid.datasets.splits import Parts
from pellucid.schema import Role
from pellucid_pipelines import packing
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain.graph import export_explainer
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing import FITTERS
from pellucid_pipelines.tensors import Target
from support.other_bundles import TABLES, Flat, a_manifest
from support.training import schema_of

BACKGROUND = 5


class LinearShap(nn.Module):
    """Exact, for a `Flat` network."""

    mean: Tensor
    base: Tensor

    def __init__(self, network: Flat, features: Features, background: Tensor) -> None:
        super().__init__()
        self.network, self.modality = network, features.modality
        self.register_buffer("mean", self._vectors(background).mean(dim=0))
        self.register_buffer("base", network(background).mean(dim=0))

    def forward(self, inputs: Tensor, chosen: Any = None, shares: Any = None) -> Any:
        raw, away = self.network(inputs), self._vectors(inputs) - self.mean
        weight = self.network.linear.weight
        if chosen is None:  # (N, width, outputs)
            return raw, away.unsqueeze(2) * weight.T.unsqueeze(0), self.base
        chosen = torch.where(chosen < 0, raw.argmax(dim=1), chosen)
        values = away * weight[chosen].reshape(away.shape)
        if self.modality == "sequence":  # the last channel, how long each is, belongs to all
            values = values[..., :-1] + values[..., -1:] / (values.shape[-1] - 1)
        else:  # the channels of a pixel, or the numbers of a token
            values = values.sum(dim=1 if self.modality == "image" else 2)
        return raw, values, self.base

    def _vectors(self, inputs: Tensor) -> Tensor:
        if self.network.embedding is not None:
            return self.network.embedding(inputs)
        return inputs.float() * self.network.scale


def class_table(rows: int = 40) -> pa.Table:
    """Three classes, two numbers and a word."""
    random = np.random.default_rng(0)
    return pa.table(
        {
            "size": random.normal(size=rows),
            "weight": random.normal(size=rows),
            "colour": random.choice(["red", "blue"], rows),
            "kind": random.choice(["cat", "dog", "owl"], rows),
        }
    )


def explained_other(root: Path, modality: plan.Modality, **options: Any) -> tuple[Bundle, pa.Table]:
    """A bundle of a kind of input with random weights, and the rows that it was made from."""
    table = class_table() if modality == "tabular" else TABLES[modality](**options)
    *features, name = table.column_names
    task = "regression" if modality == "sequence" else "classification"
    schema = schema_of(table, {name: Role.TARGET})
    fitted = FITTERS[modality].fit(table, schema.having(Role.FEATURE), plan.Preprocessing())
    target = Target.fit(table[name], name, task, None)
    torch.manual_seed(0)
    network = Flat(fitted.features.shape, target.outputs, fitted.features.vocabulary)
    network.eval().requires_grad_(False)
    every = np.arange(len(table))
    parts = Parts(every[:20], every[20:30], every[30:])
    examples = Data(table, parts, schema, fitted, target, None)
    opset, parity = packing.export(network, examples, root)
    (root / CARD).write_text("# Explained\n")
    background = fitted(fitted.encode(table.slice(0, BACKGROUND)))
    attribution = LinearShap(network, fitted.features, background)
    export_explainer(attribution, fitted, target, root / EXPLAINER)
    outputs = (name,) if task == "regression" else tuple(map(str, target.classes))
    if target.positive is not None:
        outputs = (str(target.classes[target.positive]),)
    told = Explanation(
        method="deep",
        columns=tuple(features),
        outputs=outputs,
        unit="score before softmax",
        base=tuple(attribution.base.tolist()),
        scale=(1.0,) * len(outputs),
        background=BACKGROUND,
        tolerance=1e-4,
    )
    described = a_manifest(modality, task, name, examples)
    changes = {"opset": opset, "parity": parity, "explanation": told}
    Bundle.seal(root, described.model_copy(update=changes))
    return Bundle.open(root), table.select(features)
