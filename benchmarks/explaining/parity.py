"""Our values against those of `shap` and Captum in float64, for every architecture of a plan."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from explaining import peers
from pellucid import plan
from pellucid.plan import Modality
from pellucid_pipelines import architectures
from pellucid_pipelines.explain.attributions import Attribution, fitting
from pellucid_pipelines.explain.gradients import ExpectedGradients, grid
from pellucid_pipelines.features import Features

INTEGRATED = "captum IntegratedGradients"
_OUTPUTS, _ROWS, _BESIDE, _LENGTH = 3, 4, 6, 5
_SHAPES: dict[Modality, tuple[int, ...]] = {
    "tabular": (12,), "image": (1, 8, 8), "sequence": (8, 5), "text": (8,),
}  # fmt: skip
VARIANTS: list[tuple[str, Any, Modality]] = [
    ("Mlp, GELU and batch norm", plan.Mlp(activation="gelu", norm="batch"), "tabular"),
    ("Mlp, residual", plan.Mlp(widths=(12, 12), residual=True), "tabular"),
    ("Mlp, layer norm", plan.Mlp(norm="layer"), "tabular"),
    ("Cnn, residual", plan.Cnn(residual=True), "image"),
]


def measure() -> list[dict[str, Any]]:
    """The largest difference relative to the largest value, of each architecture and input."""
    kinds = sorted(architectures.BUILDERS, key=lambda kind: kind.__name__)
    cases = [(kind.__name__, kind(), modality) for kind in kinds for modality in kind.modalities]
    return [one(*case) for case in cases + VARIANTS]


def one(name: str, spec: Any, modality: Modality) -> dict[str, Any]:
    """A network of random weights, with the plan's default sizes."""
    torch.manual_seed(0)
    rows, background = draw(modality, _ROWS), draw(modality, _BESIDE)
    features = _features(modality).with_sample(draw(modality, 200))
    network = architectures.build(spec, features, _OUTPUTS, "softmax").eval().double()
    for parameter in network.requires_grad_(False).parameters():
        if not parameter.any():  # what starts at zero would hide mistakes
            parameter.normal_(std=0.1)
    if modality != "text":
        rows, background = rows.double(), background.double()
    weights = torch.full((_BESIDE,), 1 / _BESIDE, dtype=torch.float64)
    found = fitting(network, features, background, weights, rows)
    told: dict[str, Any] = {"architecture": name, "input": modality, "method": found.method}
    if found.method == "deep":
        return told | {"difference": _deep(found, network, background, rows)}
    difference = _gradients(network, features, background[:1], rows)
    return told | {"difference": {INTEGRATED: difference}}


def draw(modality: Modality, count: int) -> Tensor:
    """Rows at random; sequences and texts all have the same length, so that paths lead anywhere."""
    shape = (count, *_SHAPES[modality])
    if modality == "image":
        return torch.randint(0, 256, shape, dtype=torch.uint8)
    if modality == "text":
        tokens = torch.randint(1, 50, shape)
        return torch.where(torch.arange(shape[1]) < _LENGTH, tokens, 0)
    rows = torch.randn(shape)
    if modality == "sequence":
        real = torch.arange(shape[1]) < _LENGTH
        rows *= real.unsqueeze(1)
        rows[..., -1] = real.float()
    return rows


def _features(modality: Modality) -> Features:
    if modality == "tabular":
        return Features.tabular(*_SHAPES[modality])
    return Features(modality, _SHAPES[modality], vocabulary=50 if modality == "text" else 0)


def _deep(
    found: Attribution, network: nn.Module, background: Tensor, rows: Tensor
) -> dict[str, float | str]:
    """Of each peer the difference, or why it has no values."""
    image = found.modality == "image"
    chosen = torch.zeros(len(rows), dtype=torch.int64) if image else None
    values = found.values(rows, chosen)[1].numpy()
    told: dict[str, float | str] = {}
    for peer, explain in peers.peers(network, background, _OUTPUTS).items():
        why = peers.fails(explain, network, background, rows)
        if why is not None:
            told[peer] = why
            continue
        expected = explain(rows)
        expected = expected[..., 0].sum(axis=1) if image else expected
        told[peer] = _difference(values, expected)
    return told


def _gradients(network: nn.Module, features: Features, start: Tensor, rows: Tensor) -> float:
    """Between a background row and rows, where our points are the same as Captum's."""
    module = ExpectedGradients(network, features, start, torch.ones(1, dtype=torch.float64))
    every = features.modality == "tabular"
    chosen = torch.ones(len(rows), dtype=torch.int64)
    values = module(rows, None if every else chosen, grid(peers.POINTS))[1]
    values = values[..., 1] if every else values
    expected = peers.integrated_gradients(network, features, start, rows, chosen)
    return _difference(values.detach().numpy(), expected)


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    """Relative to the largest value."""
    return float(np.abs(given - expected).max() / np.abs(expected).max())
