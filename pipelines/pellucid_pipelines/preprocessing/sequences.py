"""List columns to steps x channels, fitted on the training rows only."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pellucid import plan
from pellucid.bundle import Input
from pellucid.errors import InvalidPlan
from pellucid.raw.sequences import pad_flat
from pellucid.schema import Column, Kind
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing.contract import Feed, Preprocessing

_MOST_STEPS = 4096
_FURTHEST = 1e4  # deviations from the mean; no training value of fewer than 1e8 lies beyond

Floats = npt.NDArray[np.float64]


class Sequences(Preprocessing):
    """List columns (N, steps), each a channel, to (N, steps, channels + 1) float32.

    A missing value is 0, which is the channel's mean where it is standardised. The last channel
    is 1 up to the last step at which any channel has a value, and 0 after it.
    """

    mean: Tensor  # (channels,)
    deviation: Tensor  # (channels,)

    def __init__(self, names: Sequence[str], steps: int, mean: Floats, deviation: Floats) -> None:
        super().__init__()
        self.inputs = tuple(Input.of(name, Kind.SEQUENCE, shape=(steps,)) for name in names)
        self.features = Features("sequence", (steps, len(names) + 1))
        self.feeds = (Feed("steps", tuple(names)),)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[Column], spec: plan.Preprocessing) -> Self:
        """Learn the number of steps, and each channel's mean and deviation.

        Raises:
            InvalidPlan: a column holds no lists.
        """
        for column in columns:
            if column.kind is not Kind.SEQUENCE:
                raise InvalidPlan(
                    f"The column {column.name!r} is {column.kind}, not a sequence.",
                    where={"path": "modality"},
                    remedy="Give it the role ignore, or name `data.windows` for a long table.",
                )
        found = [_flat(table[column.name]) for column in columns]
        longest = max(int(np.diff(offsets).max(initial=0)) for _, offsets in found)
        steps = spec.sequence.steps or min(max(longest, 1), _MOST_STEPS)
        moments = [_moments(values, spec.sequence.scaling) for values, _ in found]
        means, deviations = np.array(moments).T.copy()
        return cls([column.name for column in columns], steps, means, deviations)

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N, steps) float64, NaN where missing and after the last step."""
        (steps,) = self.inputs[0].shape
        return {
            each.name: torch.from_numpy(pad_flat(*_flat(table[each.name]), steps))
            for each in self.inputs
        }

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """(N, steps, channels) float64 to (N, steps, channels + 1) float32."""
        (raw,) = matrices
        assert raw is not None, "there is a channel"
        missing = raw.isnan()
        scaled = ((raw - self.mean) / self.deviation).clamp(-_FURTHEST, _FURTHEST)
        values = torch.where(missing, 0.0, scaled)
        present = (~missing).any(dim=2).to(torch.int64)
        left = present.flip(1).cumsum(1).flip(1)  # values from this step on
        return torch.cat([values.float(), (left > 0).float().unsqueeze(2)], dim=2)


def _flat(column: pa.ChunkedArray) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The values of all lists, NaN where missing, and the (N + 1,) offsets of the lists in them."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    values = pc.list_flatten(column).cast(pa.float64(), safe=False)
    return np.array(values.to_numpy()), np.concatenate([[0], lengths.cumsum()])


def _moments(values: Floats, scaling: str) -> tuple[float, float]:
    """Mean and deviation of the finite values; a constant keeps its scale."""
    finite = values[np.isfinite(values)]
    if scaling == "none" or not len(finite):
        return 0.0, 1.0
    mean, deviation = float(finite.mean()), float(finite.std())
    return mean, deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 1.0
