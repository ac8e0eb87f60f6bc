"""Lists of numbers to one matrix: a row each, filled up with NaN."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pad(lists: Sequence[Sequence[float | None] | Floats | None], steps: int) -> Floats:
    """(N, steps) float64: the last `steps` of each list, NaN where missing and after the last one.

    A list that is None counts as an empty one, None in a list as NaN.
    """
    rows = [np.asarray(() if each is None else each, dtype=np.float64) for each in lists]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return pad_flat(np.concatenate([np.empty(0), *rows]), ends, steps)


def pad_flat(values: Floats, offsets: NDArray[np.integer], steps: int) -> Floats:
    """(N, steps) as `pad` gives it, of the lists `values[offsets[i]:offsets[i + 1]]`."""
    ends = offsets[1:].astype(np.int64)
    lengths = np.minimum(ends - offsets[:-1], steps)
    padded = np.full((len(lengths), steps), np.nan)
    filled = np.arange(steps) < lengths[:, None]
    places = (ends - lengths)[:, None] + np.arange(steps)
    padded[filled] = values[places[filled]]
    return padded
