"""The model as a global explanation asks it: about rows whose columns are replaced."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid_pipelines.data import Data
from pellucid_pipelines.loop import predict
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target

Floats = npt.NDArray[np.float64]

_COUNTED = 4  # rows that the network's operations are counted on


@dataclass(frozen=True)
class Subject:
    """A network over raw columns; a row is (*shape), with the columns on its last axis.

    What replaces a column are the numbers that it became inside. That is exact, because
    preprocessing treats each column by itself.

    Attributes:
        owner: (last axis,) which column each number belongs to; -1 marks the steps of sequences.
        row_cost: floating-point operations of one prediction. It does not depend on the machine,
            so neither do sample sizes that are chosen by it.
    """

    network: nn.Module
    preprocessing: Preprocessing
    target: Target
    owner: Tensor
    row_cost: float

    @classmethod
    def of(cls, network: nn.Module, examples: Data) -> "Subject":
        """The model of a run; of a table or of sequences."""
        features, rows = examples.preprocessing.features, examples.parts.test[:_COUNTED]
        if features.modality == "tabular":
            sizes = [block.stop - block.start for block in features.blocks.values()]
            owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        else:
            owner = torch.arange(features.shape[-1])
            owner[-1] = -1
        cost = _operations(network, examples.rows(rows).inputs)
        return cls(network, examples.preprocessing, examples.target, owner, cost)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns."""
        return tuple(each.name for each in self.preprocessing.inputs)

    @property
    def marked(self) -> bool:
        """Whether the last number of a step marks that there is one."""
        return bool(self.owner[-1] < 0)

    def dense(self, table: pa.Table) -> Tensor:
        """Raw rows as (N, *shape)."""
        encoded: Tensor = self.preprocessing(self.preprocessing.encode(table))
        return encoded

    def mixed(self, rows: Tensor, others: Tensor, kept: Tensor) -> Tensor:
        """`rows` (N, *shape) where `kept` (N, columns) says so, else `others`."""
        always = torch.ones(len(kept), 1, dtype=torch.bool)
        picked = torch.cat([kept, always], dim=1).index_select(1, self.owner % (kept.shape[1] + 1))
        if rows.ndim == 3:
            picked = picked.unsqueeze(1)
        mixture = torch.where(picked, rows, others)
        if self.marked:  # there is nothing after the last step
            mixture[..., :-1] *= rows[..., -1:]
        return mixture

    def raw(self, dense: Tensor) -> Floats:
        """(N, outputs) in the unit of the SHAP values."""
        raw = predict(self.network, dense).double().numpy()
        regression = self.target.task == "regression"
        return raw * self.target.deviation + self.target.mean if regression else raw

    def prediction(self, dense: Tensor) -> np.ndarray:
        """(N, K) probabilities, (N,) or (N, steps) values."""
        given: np.ndarray = self.target.head()(predict(self.network, dense)).numpy()
        return given

    def response(self, dense: Tensor) -> Floats:
        """(N, outputs): probabilities, of two classes the positive one's; or values."""
        given = self.prediction(dense).astype(np.float64)
        if self.target.positive is not None:
            return given[:, [self.target.positive]]
        return given.reshape(len(given), -1)

    def affordable(self, operations: float) -> int:
        """How many predictions cost so many operations."""
        return int(operations / self.row_cost)


def chosen(count: int, order: Sequence[str], columns: Sequence[str]) -> list[int]:
    """The places of the first `count` columns of an order."""
    return [columns.index(name) for name in order[:count]]


@torch.no_grad()
def _operations(network: nn.Module, rows: Tensor) -> float:
    """Operations for one row; what the counter does not know costs two for each weight and step."""
    counter = FlopCounterMode(display=False)
    network.eval()
    with counter:
        network(rows)
    steps = rows.shape[1] if rows.ndim == 3 else 1
    weights = sum(each.numel() for each in network.parameters())
    return max(counter.get_total_flops() / len(rows), 2.0 * weights * steps, 1.0)
