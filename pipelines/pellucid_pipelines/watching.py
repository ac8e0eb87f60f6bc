"""A few cheap scores of the validation rows, watched while training."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.analysis.scores import SCORES
from pellucid_pipelines.tensors import Target


def watcher(
    target: Target, truth: np.ndarray, weight: np.ndarray | None, device: torch.device
) -> Callable[[Tensor], dict[str, float]]:
    """A function from raw outputs (N, outputs) to scores; one that is not defined is left out.

    Args:
        target: tells which scores: accuracy and, of two classes, ROC-AUC; or RMSE.
        truth: (N,) as `Target.truth` gives it.
        weight: (N,) row weights, or None.
        device: where the raw outputs are.
    """
    if target.task == "regression":
        names = ["rmse"]
    else:
        names = ["accuracy"] if target.positive is None else ["accuracy", "roc_auc"]
    head = target.head().to(device)

    def watch(raw: Tensor) -> dict[str, float]:
        prediction = head(raw).cpu().numpy()
        scores = {
            name: SCORES[name](truth, prediction, weight, positive=target.positive)
            for name in names
        }
        return {name: value for name, value in scores.items() if math.isfinite(value)}

    return watch
