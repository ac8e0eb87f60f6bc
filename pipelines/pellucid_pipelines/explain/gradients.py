"""Expected gradients (Erion et al., 2021): SHAP values of every number, pixel, step or token.

The value of a place is the mean, over background rows b and over a in (0, 1), of (x - b) times the
gradient at b + a (x - b). Over all places the values add up to the prediction less the mean
prediction of the background rows, but for the error of the mean over a, which falls with the number
of points on each path.

Steps and tokens that a row has not cannot be moved along a gradient. The path therefore runs
between rows of the explained row's length, and what the length itself changes is shared evenly by
the row's steps: they all have the same part in it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pellucid_pipelines.explain.recurrent import explainable
from pellucid_pipelines.explain.rowwise import Rowwise
from pellucid_pipelines.features import Features

_GOLDEN = (5**0.5 - 1) / 2


def grid(count: int) -> Tensor:
    """(count,) shares of the way, evenly over (0, 1)."""
    return (torch.arange(count, dtype=torch.float32) + 0.5) / count


def between(shares: Tensor) -> Tensor:
    """As many shares again, halfway between those of a grid.

    The mean of the values with both is what twice as fine a grid gives: nothing is done twice.
    """
    return (shares + 0.5 / len(shares)) % 1.0


class ExpectedGradients(nn.Module):
    """Values of rows for one output each, or of every output for rows of a table.

    Rows are taken one after the other, and so are shares: at any time as many points are in memory
    as there are background rows. It can be traced and exported; see `rowwise`.

    Args:
        network: frozen, in evaluation mode, on the CPU: (N, *features.shape) -> (N, outputs).
        features: what it takes.
        background: (B, *features.shape).
        weights: (B,), adding up to 1.
    """

    base: Tensor  # (outputs,), the mean prediction over the background rows

    def __init__(
        self, network: nn.Module, features: Features, background: Tensor, weights: Tensor
    ) -> None:
        super().__init__()
        self.network = network
        self.modality = features.modality
        self.space = _Space(network, features)
        with torch.no_grad():
            raw = network(background)
            weights, dtype = weights.to(raw.dtype), raw.dtype
            starts = self.space.points(background).to(dtype).clone()
        self.register_buffer("base", weights @ raw)
        given = (torch.zeros((), dtype=torch.int64), background[0])
        path = _Path(self.space, starts, weights)
        self.lengths: Rowwise | None = None
        if features.modality in ("sequence", "text"):
            self.lengths = Rowwise(_Length(path), given, "length")
        share = torch.zeros((), dtype=dtype)
        self.path = Rowwise(path, (starts[0], share, *given[: self._given]), "path")

    @property
    def _given(self) -> int:
        """What a path needs besides its end and a share: the output, and the row if it has one."""
        return 1 if self.lengths is None else 2

    def forward(
        self, inputs: Tensor, chosen: Tensor | None = None, shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs (N, outputs), values and base (outputs,).

        Args:
            inputs: (N, *features.shape).
            chosen: (N,) output of each row, -1: the largest. Of tables: None, every output.
            shares: (S,) points in (0, 1) on the path to each background row, such as a `grid`; each
                path has its own offset to them, modulo 1. Default: one.

        Returns:
            Values: images (N, [frames,] height, width); sequences (N, steps, channels); texts
            (N, tokens); tables (N, width, outputs).
        """
        shares = grid(1) if shares is None else shares
        with torch.no_grad():
            ends = self.space.points(inputs)
            raw = self.space.outputs(ends, inputs)
        rows, outputs = raw.shape
        if chosen is None:
            ends = ends.unsqueeze(1).expand(rows, outputs, *ends.shape[1:]).flatten(0, 1)
            every = torch.arange(outputs).expand(rows, outputs).flatten()
            values = self._mean(shares, ends, every)
            return raw, values.view(rows, outputs, *values.shape[1:]).movedim(1, -1), self.base
        chosen = torch.where(chosen < 0, raw.argmax(dim=1), chosen)
        values = self._mean(shares, ends, *(chosen, inputs)[: self._given])
        if self.lengths is not None:
            at = chosen.unsqueeze(1)
            moved = self.lengths(chosen, inputs) - self.base.expand_as(raw).gather(1, at).squeeze(1)
            values = values + self.space.shared(moved, inputs)
        return raw, values, self.base

    def _mean(self, shares: Tensor, ends: Tensor, *given: Tensor) -> Tensor:
        """Values (N, *places), the mean over the shares."""
        count, rows = shares.shape[0], ends.shape[0]
        along = shares.to(ends.dtype).view(-1, 1).expand(count, rows).flatten()
        ends, *others = (
            each.unsqueeze(0).expand(count, *each.shape).flatten(0, 1) for each in (ends, *given)
        )
        values: Tensor = self.path(ends, along, *others)
        return values.view(count, rows, *values.shape[1:]).mean(dim=0)


class _Space(nn.Module):
    """Where paths run: among the network's own inputs, or the embeddings of its tokens."""

    def __init__(self, network: nn.Module, features: Features) -> None:
        super().__init__()
        self.eager: Any = network
        self.scanned: Any = explainable(network)  # what a graph can hold the gradient of
        self.modality = features.modality

    @property
    def network(self) -> Any:
        """PyTorch's own recurrent layers, as long as nothing is traced."""
        return self.scanned if torch.compiler.is_exporting() else self.eager

    def points(self, rows: Tensor) -> Tensor:
        """(N, *shape) to (N, ...) floating-point numbers, of which a path between rows consists."""
        if self.modality == "text":
            embedded: Tensor = self.network.embed(rows)
            return embedded
        if self.modality == "sequence":
            return rows[..., :-1]
        return rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())

    def outputs(self, points: Tensor, rows: Tensor) -> Tensor:
        """(N, outputs) raw at points between rows that are as long as `rows` (N, *shape)."""
        raw: Tensor
        if self.modality == "text":
            raw = self.network.from_embedding(points, rows)
        elif self.modality == "sequence":
            raw = self.network(torch.cat([points, rows[..., -1:]], dim=-1))
        else:
            raw = self.network(points)
        return raw

    def places(self, values: Tensor) -> Tensor:
        """Values of one row, summed over what a place consists of."""
        if self.modality == "image":
            return values.sum(dim=-3)
        return values.sum(dim=-1) if self.modality == "text" else values

    def shared(self, moved: Tensor, rows: Tensor) -> Tensor:
        """(N,) to (N, *places): evenly over the real places, over all of them where none is."""
        if self.modality == "text":
            real = rows != 0
        else:
            real = (rows[..., -1:] > 0.5).expand(-1, -1, rows.shape[2] - 1)
        parts = real.flatten(1).to(moved.dtype)
        count = parts.sum(dim=1, keepdim=True)
        parts = torch.where(count > 0, parts / count.clamp(min=1), 1 / parts.shape[1])
        return (parts * moved.unsqueeze(1)).view(real.shape)


class _Path(nn.Module):
    """Where a row ends, a share () and the output () -> values (*places).

    Of texts and sequences also the row itself, (*shape). The mean over the background rows, with
    one point on the path from each.
    """

    weights: Tensor  # (B,)
    starts: Tensor  # (B, *point)
    offsets: Tensor  # (B,) in [0, 1): even over the background

    def __init__(self, space: _Space, starts: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("weights", weights)
        self.register_buffer("starts", starts)
        offsets = torch.arange(len(starts), dtype=torch.float64) * _GOLDEN % 1
        self.register_buffer("offsets", offsets.to(starts.dtype))

    def forward(
        self, end: Tensor, share: Tensor, chosen: Tensor, row: Tensor | None = None
    ) -> Tensor:
        """Shapes: (*point), (), () and perhaps (*shape) -> (*places)."""
        wide = (-1, *(1,) * end.ndim)
        steps = end - self.starts
        along = ((self.offsets + share) % 1.0).view(wide)
        points = (self.starts + along * steps).detach().requires_grad_()
        with torch.enable_grad():
            total = self.outputs(points, chosen, row).sum()
        (slopes,) = torch.autograd.grad(total, points)
        return self.space.places((steps * self.weights.view(wide) * slopes).sum(dim=0))

    def outputs(self, points: Tensor, chosen: Tensor, row: Tensor | None) -> Tensor:
        """(B, *point) to (B,): the chosen output at each, as long as the row."""
        row = points[0] if row is None else row
        raw = self.space.outputs(points, row.expand(points.shape[0], *row.shape))
        return raw @ (torch.arange(raw.shape[1]) == chosen).to(raw.dtype)


class _Length(nn.Module):
    """The output () and a row (*shape) -> (): the mean over background rows of its length."""

    def __init__(self, path: _Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, chosen: Tensor, row: Tensor) -> Tensor:
        """Shapes: (), (*shape) -> ()."""
        with torch.no_grad():
            return self.path.weights @ self.path.outputs(self.path.starts, chosen, row)
