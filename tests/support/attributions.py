"""What others give as the SHAP values of a network: the `shap` package and Captum."""

import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import shap
import torch
from torch import Tensor, nn

from pellucid_pipelines.features import Features

POINTS = 16  # on a path


def deep(network: nn.Module, background: Tensor, rows: Tensor) -> dict[str, np.ndarray]:
    """DeepSHAP by those whose values add up: (N, *shape, outputs) of each.

    Args:
        network: float64, frozen: (N, *shape) -> (N, outputs).
        background: (B, *shape).
        rows: (N, *shape).
    """
    with torch.no_grad():
        away = (network(rows) - network(background).mean(dim=0)).numpy()
    found = {}
    for name, explain in (("shap", _shap), ("captum", _captum)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # modules that they do not know
            try:
                values = explain(network, background, rows, away.shape[1])
            except (AssertionError, AttributeError, RuntimeError):  # a network that they cannot do
                continue
        missed = values.reshape(len(rows), -1, away.shape[1]).sum(axis=1) - away
        if np.abs(missed).max() < 1e-6 * np.abs(away).max():
            found[name] = values
    return found


def _shap(network: nn.Module, background: Tensor, rows: Tensor, _: int) -> np.ndarray:
    explainer = shap.DeepExplainer(network, background)
    return np.asarray(explainer.shap_values(rows, check_additivity=False))


def _captum(network: nn.Module, background: Tensor, rows: Tensor, outputs: int) -> np.ndarray:
    method = captum.attr.DeepLiftShap(network)
    every = [method.attribute(rows, baselines=background, target=i) for i in range(outputs)]
    return torch.stack(every, dim=-1).detach().numpy()


def integrated_gradients(
    network: nn.Module, features: Features, start: Tensor, rows: Tensor, chosen: Tensor
) -> np.ndarray:
    """Captum's, from one row to others: (N, *places), as ours with a grid of `POINTS` shares.

    Args:
        network: float64, frozen.
        features: what it takes.
        start: (1, *shape); of sequences and texts as long as the rows.
        rows: (N, *shape).
        chosen: (N,) outputs.
    """
    points, moving = _points(network, features), _moving(network, features)
    begin, end = points(start), points(rows)
    values = captum.attr.IntegratedGradients(moving).attribute(
        end,
        begin.expand_as(end),
        target=chosen,
        additional_forward_args=rows,
        n_steps=POINTS,
        method="riemann_middle",
    )
    values = values.detach()
    if features.modality == "image":
        values = values.sum(dim=-3)
    return (values.sum(dim=-1) if features.modality == "text" else values).numpy()


def _points(network: nn.Module, features: Features) -> Callable[[Tensor], Tensor]:
    if features.modality == "text":
        return lambda rows: network.embed(rows).detach()
    if features.modality == "sequence":
        return lambda rows: rows[..., :-1]
    return lambda rows: rows.double()


def _moving(network: nn.Module, features: Features) -> Callable[[Tensor, Tensor], Tensor]:
    if features.modality == "text":
        return lambda points, rows: network.from_embedding(points, rows)
    if features.modality == "sequence":
        return lambda points, rows: network(torch.cat([points, rows[..., -1:]], dim=-1))
    return lambda points, rows: network(points)
