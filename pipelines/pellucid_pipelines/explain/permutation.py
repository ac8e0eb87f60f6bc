"""Shapley values by permutations, with the `shap` package: for any function of the dense vector."""

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid_pipelines.explain.values import Floats

Integers = npt.NDArray[np.int64]

_PERMUTATIONS = 1  # there and back; exact for interactions of two columns
_BATCH_BYTES = 2**26


def permutation(
    model: nn.Module, background: Tensor, dense: Tensor, blocks: Integers, seed: int
) -> tuple[Floats, Floats]:
    """Shapley values by antithetic permutations (Castro et al., 2009), raw column by raw column.

    In float32, which takes half the time and adds up to 1e-6. Background rows count alike.

    Args:
        model: frozen: dense (N, width) -> raw (N, outputs).
        background: (B, width).
        dense: (N, width), the rows to explain.
        blocks: (columns,), where the block of each raw column starts.
        seed: of the permutations.

    Returns:
        Values (N, columns, outputs) and base (outputs,).
    """
    import shap

    model, background, dense = copy.deepcopy(model).float(), background.float(), dense.float()
    masker = _BlockMasker(background.numpy(), blocks)
    explainer = shap.PermutationExplainer(_predictor(model), masker, seed=seed)
    choices = {
        "max_evals": _PERMUTATIONS * (2 * len(blocks) + 1),
        "batch_size": max(1, _BATCH_BYTES // background.numpy().nbytes),
        "main_effects": False,
        "error_bounds": False,
        "outputs": None,
        "silent": True,
    }
    # Row by row: called on all of them, shap 0.51 also computes main effects that nobody asked for.
    values = [explainer.explain_row(row, **choices)["values"] for row in dense.numpy()]
    return np.stack(values), model(background).mean(dim=0).double().numpy()


def _predictor(model: nn.Module) -> Callable[[Floats], Floats]:
    def predict(dense: Floats) -> Floats:
        outputs: Floats = model(torch.from_numpy(dense)).numpy()
        return outputs

    return predict


class _BlockMasker:
    """shap's masker protocol: a hidden raw column takes the background rows' block."""

    immutable_outputs = True

    def __init__(self, background: Floats, blocks: Integers) -> None:
        self.background = background
        self.blocks = blocks
        self.shape = (len(background), len(blocks))
        self.owner = np.repeat(np.arange(len(blocks)), np.diff([*blocks, background.shape[1]]))

    def __call__(self, shown: npt.NDArray[np.bool_], row: Floats) -> Floats:
        """(columns,) and (width,) to (background rows, width)."""
        return np.where(shown[self.owner], row, self.background)

    def invariants(self, row: Floats) -> npt.NDArray[np.bool_]:
        """(background rows, columns): where hiding changes nothing, so nothing is evaluated."""
        return np.logical_and.reduceat(self.background == row, self.blocks, axis=1)

    def mask_shapes(self, row: Floats) -> list[tuple[int, ...]]:
        """One value per raw column."""
        return [(len(self.blocks),)]
