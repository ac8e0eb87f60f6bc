"""The two ways to SHAP values, with the `shap` package, over blocks of the dense vector.

Both take a frozen network in float64 on the CPU, dense (N, width) -> raw (N, outputs), background
rows (B, width), the rows to explain (N, width), and where the block of each raw column starts.
"""

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Values = tuple[Floats, Floats]  # (N, columns, outputs), base (outputs,)

EXACT = (  # modules that shap.DeepExplainer propagates through exactly
    nn.Linear,
    nn.BatchNorm1d,
    nn.Dropout,
    nn.Identity,
    nn.Flatten,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
)
_PERMUTATIONS = 1  # there and back; exact for interactions of two columns
_BATCH_BYTES = 2**26
_GROUP_BYTES = 2**20


def deep(model: nn.Module, background: Tensor, dense: Tensor, blocks: Integers) -> Values:
    """DeepSHAP over the dense vector, its values added up per raw column.

    shap explains row after row; here a group of rows lies side by side as one row of a model that
    adds up their outputs, which gives each row the same values in far fewer passes.
    """
    import shap

    group = max(1, _GROUP_BYTES // background.numpy().nbytes)
    values = []
    for rows in torch.split(dense, group):
        beside = background.unsqueeze(1).expand(-1, len(rows), -1).contiguous()
        explainer = shap.DeepExplainer(_SideBySide(model), beside)
        values.append(explainer.shap_values(rows.unsqueeze(0), check_additivity=False)[0])
    per_column = np.add.reduceat(np.concatenate(values), blocks, axis=1)
    return per_column, model(background).mean(dim=0).numpy()


class _SideBySide(nn.Module):
    """(N, rows, width) -> (N, outputs): the sum over the rows of a network's raw outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, groups: Tensor) -> Tensor:
        count, rows, width = groups.shape
        raw: Tensor = self.network(groups.reshape(count * rows, width))
        return raw.reshape(count, rows, -1).sum(dim=1)


def permutation(
    model: nn.Module, background: Tensor, dense: Tensor, blocks: Integers, seed: int
) -> Values:
    """Shapley values by antithetic permutations (Castro et al., 2009), raw column by raw column.

    In float32, which takes half the time and adds up to 1e-6.
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
