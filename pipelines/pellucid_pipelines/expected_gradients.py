"""Expected gradients (Erion et al., 2021): SHAP values of every pixel, step or token.

The value of a place is the mean, over background rows b and over a in (0, 1), of (x - b) times the
gradient at b + a (x - b). Over all places the values add up to the prediction less the mean
prediction of the background rows, but for the error of the mean over a, which is reported.

Steps and tokens that a row has not cannot be moved along a gradient. The path therefore runs
between rows of the explained row's length, and what the length itself changes is shared evenly by
the row's steps: they all have the same part in it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid_pipelines.features import Features

Floats = npt.NDArray[np.float64]

ENOUGH = 1e-2  # of the largest difference to the base: a row that adds up to this is done
_ROUNDS = 64  # at most, each with one point on the path to every background row
_PASSES = 2**15  # forward and backward passes at most, where more than one round is needed
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Gradients:
    """Values of N rows for some of the network's outputs.

    Attributes:
        values: (N, *places, chosen): images (height, width), with frames in front; sequences
            (steps, channels); texts (tokens,); tabular (width,).
        base: (outputs,), the mean prediction over the background rows.
        error: (N, chosen), what base and values add up to, less the prediction.
    """

    values: Floats
    base: Floats
    error: Floats


def expected_gradients(
    network: nn.Module, features: Features, background: Tensor, rows: Tensor, chosen: Tensor
) -> Gradients:
    """Values of each row for its chosen outputs.

    Args:
        network: frozen, in evaluation mode, on the CPU: (N, *features.shape) -> (N, outputs).
        features: what it takes.
        background: (B, *features.shape).
        rows: (N, *features.shape).
        chosen: (N, k) outputs to explain, of each row.
    """
    space = _Space(network, features)
    with torch.no_grad():
        base = network(background).double().mean(dim=0)
        predicted = network(rows).double()
    chosen_base = base[chosen]
    wanted = predicted.gather(1, chosen) - chosen_base
    scale = float(wanted.abs().max()) or 1.0
    rounds = max(1, min(_ROUNDS, _PASSES // (chosen.numel() * len(background))))
    starts = space.points(background)
    found, missed = [], []
    for i in range(len(rows)):
        values, error = zip(
            *(
                space.explained(rows[i : i + 1], starts, int(k), float(b), rounds, ENOUGH * scale)
                for k, b in zip(chosen[i], chosen_base[i], strict=True)
            ),
            strict=True,
        )
        found.append(torch.stack(values, dim=-1))
        missed.append(error)
    return Gradients(torch.stack(found).numpy(), base.numpy(), np.array(missed))


class _Space:
    """Where the path runs: the network's own input, or the embeddings of its tokens."""

    def __init__(self, network: nn.Module, features: Features) -> None:
        self.network = network
        self.modality = features.modality

    def points(self, rows: Tensor) -> Tensor:
        """(N, ...) floating-point numbers, of which a path between two rows consists."""
        if self.modality == "text":
            embedded: Tensor = self.network.embed(rows)  # type: ignore[operator]
            return embedded
        if self.modality == "sequence":
            return rows[..., :-1]
        return rows if rows.is_floating_point() else rows.to(_dtype(self.network))

    def outputs(self, points: Tensor, row: Tensor) -> Tensor:
        """(N, outputs) raw at points between rows that are as long as `row` (1, ...)."""
        given = row.expand(len(points), *row.shape[1:])
        raw: Tensor
        if self.modality == "text":
            raw = self.network.from_embedding(points, given)  # type: ignore[operator]
        elif self.modality == "sequence":
            raw = self.network(torch.cat([points, given[..., -1:]], dim=-1))
        else:
            raw = self.network(points)
        return raw

    def explained(
        self, row: Tensor, starts: Tensor, output: int, base: float, rounds: int, enough: float
    ) -> tuple[Tensor, float]:
        """(*places) values of one row (1, ...) for one output, and what they miss."""
        end = self.points(row)
        with torch.no_grad():
            ends = self.outputs(torch.cat([starts, end]), row)[:, output].double()
        length = float(ends[:-1].mean()) - base  # what the row's length alone changes
        along = float(ends[-1] - ends[:-1].mean())
        total = torch.zeros(end.shape[1:], dtype=torch.float64)
        offsets = torch.arange(len(starts)) * _GOLDEN  # even over the background
        for done in range(1, rounds + 1):
            share = ((offsets + _halved(done - 1)) % 1.0).to(starts.dtype)
            total += self._gradient(starts, end, share, row, output)
            error = float(total.sum()) / done - along
            if abs(error) <= enough:
                break
        return self._places(total / done, row, length), error

    def _gradient(
        self, starts: Tensor, end: Tensor, share: Tensor, row: Tensor, output: int
    ) -> Tensor:
        """(x - b) times the gradient at one point of each path, the mean over the paths."""
        step = end - starts
        points = starts + share.view(-1, *(1,) * (starts.ndim - 1)) * step
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            raw = self.outputs(points, row)[:, output].sum()
        (gradient,) = torch.autograd.grad(raw, points)
        return (step * gradient).double().mean(dim=0)

    def _places(self, values: Tensor, row: Tensor, length: float) -> Tensor:
        """Values summed over what a place consists of; the length's part, shared by the steps."""
        if self.modality == "image":
            return values.sum(dim=-3)
        if self.modality == "tabular":
            return values
        if self.modality == "text":
            values, real = values.sum(dim=1), row[0] != 0
        else:
            real = (row[0, :, -1:] > 0.5).expand_as(values)
        if not real.any():
            real = torch.ones_like(real)
        return values + length * real / real.sum()


def _halved(number: int) -> float:
    """The van der Corput sequence: after 2^n numbers, a grid of that many points in (0, 1)."""
    return float(int(f"{number:b}"[::-1], 2) / 2 ** number.bit_length())


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype
