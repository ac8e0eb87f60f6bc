"""The bundle's explain.onnx: raw columns in, predictions and their SHAP values out."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pellucid.errors import TrainingFailed
from pellucid_pipelines.explain.gradients import grid
from pellucid_pipelines.explain.rowwise import TRANSLATIONS
from pellucid_pipelines.explain.tracing import traced
from pellucid_pipelines.export import LARGEST, OPSET, exported
from pellucid_pipelines.features import Features
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.onnx_graph import Option, surround
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target

_ROWS, _SHARES = 3, 5  # of what is traced: no other axis may have these sizes by chance


def export_explainer(
    attribution: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    path: Path,
    steps: int = 0,
    rule: Rule | None = None,
) -> None:
    """Write an attribution as an ONNX model; see `pellucid.bundle.Explanation` for what it gives.

    Args:
        attribution: built on a frozen float32 network on the CPU.
        preprocessing: as fitted.
        target: as fitted.
        path: of the file.
        steps: shares on the way to each background row, of an attribution that takes them.
        rule: of the labels, as in model.onnx.

    Raises:
        TrainingFailed: the graph is larger than an ONNX file can be.
    """
    core = _Core(attribution, preprocessing, target, steps)
    options = [Option("explain/chosen", np.array([-1]), spread=True)] if core.one else []
    examples = [torch.full((2,), -1)] if core.one else []
    if steps:
        shares = grid(steps)
        options.append(Option("explain/shares", shares.numpy()))
        examples.append(grid(_SHARES))
    outputs = ["explained", "shap", "base", "gap", *(["places"] if core.one else [])]
    graph = exported(core, examples, TRANSLATIONS)
    model = surround(
        graph, preprocessing, target, OPSET, options=options, outputs=outputs, rule=rule
    )
    content = model.SerializeToString(deterministic=True)
    if len(content) > LARGEST:
        raise TrainingFailed(
            f"The explanation takes {len(content):,} bytes; one ONNX file holds at most 2 GiB.",
            where={"path": "explanation.background"},
            remedy="Compare to fewer background rows.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    onnx.checker.check_model(str(path), full_check=True)


class _Core(nn.Module):
    """The feeds and the attribution's options to all that explain.onnx gives."""

    def __init__(
        self, attribution: nn.Module, preprocessing: Preprocessing, target: Target, steps: int
    ) -> None:
        super().__init__()
        features = preprocessing.features
        self.preprocessing = copy.deepcopy(preprocessing)
        self.head = target.head()
        self.cpu().eval().requires_grad_(False)
        self.modality, self.one = features.modality, features.modality != "tabular"
        self.attribution = _graph(attribution, features, self.one, steps)
        regression = target.task == "regression"
        self.deviation, self.mean = (target.deviation, target.mean) if regression else (1.0, 0.0)
        if not self.one:
            self.register_buffer("owner", _owner(features))

    def forward(self, *given: Tensor | None) -> tuple[Tensor, ...]:
        """Prediction, explained, shap, base, gap and, where one output is explained, places."""
        feeds = len(self.preprocessing.feeds)
        inputs = self.preprocessing.dense(*given[:feeds]).contiguous()
        options: list[Any] = list(given[feeds:])
        raw, values, base = self.attribution(inputs, *options)
        base = base.unsqueeze(0).expand_as(raw)
        explained, values = raw * self.deviation + self.mean, values * self.deviation
        base = base * self.deviation + self.mean
        if self.one:
            at = torch.where(options[0] < 0, raw.argmax(dim=1), options[0]).unsqueeze(1)
            explained, base = explained.gather(1, at), base.gather(1, at)
        shap = self._by_column(values)
        gap = (base + shap.sum(dim=1) - explained).abs()
        places = (values,) if self.one else ()
        return self.head(raw), explained, shap, base, gap, *places

    def _by_column(self, values: Tensor) -> Tensor:
        """(N, *places) or (N, width, outputs) to (N, columns, outputs)."""
        if self.modality == "tabular":
            return (values.transpose(1, 2) @ self.get_buffer("owner")).transpose(1, 2)
        summed = (
            values.sum(dim=1) if self.modality == "sequence" else values.flatten(1).sum(1, True)
        )
        return summed.unsqueeze(2)


def _graph(attribution: nn.Module, features: Features, one: bool, steps: int) -> Any:
    """The attribution without gradients in it; its options are those that it takes."""
    kind = {"image": torch.uint8, "text": torch.int64}.get(features.modality, torch.float32)
    examples = [torch.zeros(_ROWS, *features.shape, dtype=kind)]
    if one:
        examples.append(torch.zeros(_ROWS, dtype=torch.int64))
    if steps:
        examples.append(grid(_SHARES))
    return traced(_Ordered(attribution, one), examples)


class _Ordered(nn.Module):
    """An attribution whose inputs are those that it takes, one after another."""

    def __init__(self, attribution: nn.Module, one: bool) -> None:
        super().__init__()
        self.attribution, self.one = attribution, one

    def forward(self, inputs: Tensor, *options: Tensor) -> tuple[Tensor, ...]:
        given = options if self.one else (None, *options)
        attributed: tuple[Tensor, ...] = self.attribution(inputs, *given)
        return attributed


def _owner(features: Features) -> Tensor:
    """(width, columns): 1 where a position of the dense vector belongs to a raw column."""
    owner = torch.zeros(features.shape[0], len(features.blocks))
    for i, block in enumerate(features.blocks.values()):
        owner[block, i] = 1.0
    return owner
