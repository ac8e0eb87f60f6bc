"""How others explain a network: the `shap` package and Captum, both with PyTorch."""

import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import shap
import torch
from torch import Tensor, nn

from pellucid_pipelines.features import Features

Values = np.ndarray
Explain = Callable[[Tensor], Values]
"""(N, *shape) to (N, *shape, outputs) or (N, *shape) of the only output."""

POINTS = 16  # on a path
DEEP_EXPLAINER, DEEP_LIFT_SHAP = "shap.DeepExplainer", "captum DeepLiftShap"


def deep_explainer(network: nn.Module, background: Tensor) -> Explain:
    """DeepSHAP by the `shap` package (Lundberg and Lee, 2017), without its check of the sum."""
    explainer = shap.DeepExplainer(network, background)

    def explain(rows: Tensor) -> Values:
        with warnings.catch_warnings():  # it does not know a module: its values will tell
            warnings.simplefilter("ignore")
            found = explainer.shap_values(rows, check_additivity=False)
        return np.asarray(found)

    return explain


def deep_lift_shap(network: nn.Module, background: Tensor, outputs: int) -> Explain:
    """The same by Captum, one output after the other."""
    method = captum.attr.DeepLiftShap(network)

    def explain(rows: Tensor) -> Values:
        with warnings.catch_warnings():  # that it puts hooks on activations, every time
            warnings.simplefilter("ignore")
            found = [
                method.attribute(rows, baselines=background, target=each) for each in range(outputs)
            ]
        return torch.stack(found, dim=-1).detach().numpy()

    return explain


def peers(network: nn.Module, background: Tensor, outputs: int) -> dict[str, Explain]:
    """Both."""
    return {
        DEEP_EXPLAINER: deep_explainer(network, background),
        DEEP_LIFT_SHAP: deep_lift_shap(network, background, outputs),
    }


def fails(explain: Explain, network: nn.Module, background: Tensor, rows: Tensor) -> str | None:
    """Why it cannot explain this network; None: its values add up to the predictions."""
    try:
        found = explain(rows)
    except Exception as error:  # whatever a library raises is the answer
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    with torch.no_grad():
        away = (network(rows) - network(background).mean(dim=0)).double().numpy()
    found = found.reshape(len(rows), -1, away.shape[1]).sum(axis=1)
    missed = float(np.abs(found - away).max() / np.abs(away).mean())
    if missed > 1e-2:
        return f"its values miss the predictions by up to {missed:.0%} of their mean difference"
    return None


def integrated_gradients(
    network: nn.Module, features: Features, background: Tensor, rows: Tensor, chosen: Tensor
) -> Values:
    """Captum's integrated gradients (Sundararajan et al., 2017), the mean over background rows.

    Args:
        network: (N, *shape) -> (N, outputs).
        features: what it takes.
        background: (B, *shape), of sequences and texts as long as the rows.
        rows: (N, *shape).
        chosen: (N,) outputs.

    Returns:
        (N, *places), as `ExpectedGradients` gives them, with `POINTS` shares.
    """

    def moving(points: Tensor, rows: Tensor) -> Tensor:
        raw: Tensor
        if features.modality == "text":
            raw = network.from_embedding(points, rows)
        elif features.modality == "sequence":
            raw = network(torch.cat([points, rows[..., -1:]], dim=-1))
        else:
            raw = network(points)
        return raw

    def points(rows: Tensor) -> Tensor:
        if features.modality == "text":
            embedded: Tensor = network.embed(rows)
            return embedded.detach()
        return rows[..., :-1] if features.modality == "sequence" else rows.double()

    method = captum.attr.IntegratedGradients(moving)
    starts = points(background)
    found = [
        method.attribute(
            points(rows), start.expand(len(rows), *start.shape), target=chosen,
            additional_forward_args=rows, n_steps=POINTS, method="riemann_middle",
        )
        for start in starts
    ]  # fmt: skip
    values = torch.stack(found).mean(dim=0).detach()
    if features.modality == "image":
        values = values.sum(dim=-3)
    return (values.sum(dim=-1) if features.modality == "text" else values).numpy()
