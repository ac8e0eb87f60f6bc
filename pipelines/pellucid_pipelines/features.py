"""What networks take: the shape and the meaning of a prepared row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from pellucid.plan import Modality


@dataclass(frozen=True)
class Features:
    """A batch of prepared rows is a tensor of shape (N, *shape).

    tabular: float32 (width,). image: uint8 (channels, height, width), or with frames (frames,
    channels, height, width). sequence: float32 (steps, channels + 1); the last channel is 1 where
    there is a step and 0 after the last one. text: int64 (tokens,), 0 after the last one.

    Attributes:
        blocks: tabular: raw column -> its slice of the dense vector.
        numeric: tabular: positions that hold a number on a scale, not a flag or a category.
        vocabulary: text: how many tokens there are, 0 among them.
        sample: (n, *shape) of some training rows, to choose bins or scales by; on the CPU.
    """

    modality: Modality
    shape: tuple[int, ...]
    blocks: Mapping[str, slice] = field(default_factory=dict)
    numeric: tuple[int, ...] = ()
    vocabulary: int = 0
    sample: Tensor | None = None

    @classmethod
    def tabular(cls, width: int) -> Self:
        """Numbers only, each a column of its own."""
        blocks = {f"x{i}": slice(i, i + 1) for i in range(width)}
        return cls("tabular", (width,), blocks, tuple(range(width)))

    def with_sample(self, rows: Tensor) -> Self:
        """The same, with some training rows."""
        return replace(self, sample=rows)
