"""A column of encoded images to pixels, in the size and channels of the training rows.

Pixels stay 8-bit until the network's first layer normalises them: a data set on the device then
takes a quarter of the memory, and a batch a quarter of the time to gather.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pellucid import plan
from pellucid.bundle import Input
from pellucid.errors import InvalidData
from pellucid.raw import images
from pellucid.schema import Column, Kind
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing.contract import Feed, Preprocessing

LONGEST = 128  # pixels of a side, where the plan does not say: a photograph's own would be slow
_SLICE = 64  # images that a thread decodes at a time
_T = TypeVar("_T")


class Images(Preprocessing):
    """One image column to (N, channels, height, width) uint8; see `Features` for frames."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        """`shape` is (height, width, channels), or (frames, height, width, channels)."""
        super().__init__()
        self.inputs = (Input.of(name, Kind.IMAGE, shape=shape),)
        self.feeds = (Feed("pixels", (name,), stacked=False),)
        self.features = Features("image", (*shape[:-3], shape[-1], *shape[-3:-1]))

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[Column], spec: plan.Preprocessing) -> Self:
        """Learn size and channels from the training rows.

        Raises:
            InvalidData: an image is missing or damaged; names the row.
        """
        (column,) = columns
        cells = table[column.name]
        size = spec.image.size or _size(next(_read(images.inspect, cells, column.name)))
        channels = spec.image.channels
        if channels is None:
            channels = 1 if all(_read(images.is_grey, cells, column.name)) else 3
        frames = (spec.image.frames,) if spec.image.frames > 1 else ()
        return cls(column.name, (*frames, *size, channels))

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N, [frames,] height, width, channels) uint8.

        Raises:
            InvalidData: an image is missing or damaged; names the row.
        """
        (given,) = self.inputs
        cells = table[given.name]
        pixels = np.empty((len(cells), *given.shape), np.uint8)

        def decode(start: int) -> None:
            some = cells.slice(start, _SLICE)
            decoded = _read(lambda data: images.decode(data, given.shape), some, given.name, start)
            for row, image in enumerate(decoded, start):
                pixels[row] = image

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow lets other threads run
            list(pool.map(decode, range(0, len(cells), _SLICE)))
        return {given.name: torch.from_numpy(pixels)}

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """(N, [frames,] height, width, channels) to (N, [frames,] channels, height, width)."""
        (pixels,) = matrices
        assert pixels is not None, "an image column is never left out"
        return pixels.movedim(-1, -3)


def _size(seen: images.Seen) -> tuple[int, int]:
    """Height and width as they are, or smaller in proportion."""
    scale = min(1.0, LONGEST / max(seen.height, seen.width))
    return max(1, round(scale * seen.height)), max(1, round(scale * seen.width))


def _read(
    read: Callable[[bytes], _T], cells: pa.ChunkedArray, name: str, start: int = 0
) -> Iterator[_T]:
    """Each image, read; an error names its row, the first of which is `start` + 1."""
    for row, cell in enumerate(cells, start + 1):
        where = {"column": name, "row": row}
        data = cell.as_py()
        if data is None:
            raise InvalidData("The image is missing.", where=where, remedy="Take the row out.")
        try:
            yield read(data)
        except InvalidData as error:
            raise InvalidData(error.message, where=where, remedy=error.remedy) from error
