"""The networks of a cross-validation as one: its preprocessing and its mean prediction."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.ensembles import mean_prediction
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Link, Target


class Ensemble(nn.Module):
    """(N, *shape) -> (N, outputs): what `link` maps to the mean of the members' predictions.

    Args:
        members: each (N, *its shape) -> (N, outputs) raw, of its own target.
        link: what maps raw outputs to predictions.
        targets: of the members: the scale of a regression is each member's own.
        target: whose scale the ensemble's raw outputs have.
        places: for each member, where its inputs lie along the last axis; None: it takes all.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        link: Link,
        targets: Sequence[Target],
        target: Target,
        places: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.link = link
        for i, each in enumerate(places or ()):
            self.register_buffer(f"places_{i}", each)
        self.placed = places is not None
        scale = [each.deviation / target.deviation for each in targets]
        shift = [(each.mean - target.mean) / target.deviation for each in targets]
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor(scale).view(-1, 1))  # (members, 1)
        self.register_buffer("shift", torch.tensor(shift).view(-1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, *shape) -> (N, outputs); in training mode (N, members, outputs)."""
        raw = torch.stack(
            [member(self._of(i, inputs)) for i, member in enumerate(self.members)], dim=1
        )
        if self.link == "identity":
            raw = raw * self.scale + self.shift
        return raw if self.training else mean_prediction(raw, self.link)

    def _of(self, member: int, inputs: Tensor) -> Tensor:
        if not self.placed:
            return inputs
        return inputs.index_select(-1, self.get_buffer(f"places_{member}"))


class Folded(Preprocessing):
    """What each fold learnt of tabular columns, side by side: (N, the sum of the widths).

    All that belongs to one raw column stands together, so that it has one block.

    Args:
        whole: fitted on the rows of all folds: reads the raw columns, and knows every category.
        members: fitted on the training rows of a fold each.
    """

    def __init__(self, whole: Preprocessing, members: Sequence[Preprocessing]) -> None:
        super().__init__()
        self.inputs, self.feeds = whole.inputs, whole.feeds
        self.whole = whole
        self.members = nn.ModuleList(members)
        self.recoded = tuple(each.name for each in whole.inputs if each.categories)
        for i, member in enumerate(members):
            for j, name in enumerate(self.recoded):
                self.register_buffer(f"codes_{i}_{j}", _codes(name, whole, member))
        self._lay_out(members)

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N,), as all folds together would read it."""
        return self.whole.encode(table)

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """The feeds, in order, to (N, width)."""
        columns: dict[str, Tensor] = {}
        for feed, matrix in zip(self.feeds, matrices, strict=True):
            if matrix is not None:
                columns |= dict(zip(feed.columns, matrix.unbind(dim=-1), strict=True))
        parts = [member(self._of(i, columns)) for i, member in enumerate(self.members)]
        return torch.cat(parts, dim=-1).index_select(-1, self.get_buffer("order"))

    def places(self) -> list[Tensor]:
        """For each member, where its own dense vector lies in this one."""
        where = torch.argsort(self.get_buffer("order"))
        widths = [member.features.shape[-1] for member in self._each()]
        return list(torch.split(where, widths))

    def _of(self, member: int, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The columns with the codes that a member has for their categories."""
        own = dict(columns)
        for j, name in enumerate(self.recoded):
            own[name] = self.get_buffer(f"codes_{member}_{j}")[columns[name].long()]
        return own

    def _each(self) -> list[Preprocessing]:
        return [member for member in self.members if isinstance(member, Preprocessing)]

    def _lay_out(self, members: Sequence[Preprocessing]) -> None:
        """Blocks of one raw column after those of another, each with all members' parts."""
        order: list[int] = []
        numeric: list[int] = []
        blocks: dict[str, slice] = {}
        for name in (each.name for each in self.inputs):
            start, offset = len(order), 0
            for member in members:
                block = member.features.blocks[name]
                for position in range(block.start, block.stop):
                    if position in member.features.numeric:
                        numeric.append(len(order))
                    order.append(offset + position)
                offset += member.features.shape[-1]
            blocks[name] = slice(start, len(order))
        self.register_buffer("order", torch.tensor(order))
        self.features = Features("tabular", (len(order),), blocks, tuple(numeric))


def _codes(name: str, whole: Preprocessing, member: Preprocessing) -> Tensor:
    """(codes,) a member's code for each that `whole` has: of categories, missing and unknown."""
    categories = next(each.categories for each in whole.inputs if each.name == name)
    unknown = max(categories, key=len) + "?"
    column = pa.chunked_array([pa.array([*categories, None, unknown], pa.string())])
    empty = pa.chunked_array([pa.nulls(len(column), pa.string())])
    names = [each.name for each in whole.inputs]
    probe = pa.table({each: column if each == name else empty for each in names})
    before, after = whole.encode(probe)[name], member.encode(probe)[name]
    table = torch.zeros(int(before.max()) + 1, dtype=after.dtype)
    table[before] = after
    return table
