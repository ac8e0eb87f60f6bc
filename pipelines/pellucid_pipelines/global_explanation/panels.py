"""What the panels of the figures share: raw columns on an axis, grids of panels."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pellucid_pipelines.drawing import drawn, plain
from pellucid_pipelines.global_explanation.readings import Reading, date

_ACROSS = 3
_YEAR = 31_556_952.0  # seconds


@contextmanager
def grid(path: Path, count: int, title: str) -> Iterator[Sequence[Axes]]:
    """`count` panels, up to three a line, below a title; saved at the end."""
    across = min(_ACROSS, count)
    down = math.ceil(count / across)
    with drawn(path, max(6.5, 4.2 * across), 3.3 * down + 0.5) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=13)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for empty in panels[count:]:
            empty.set_axis_off()
        yield list(panels[:count])


def scale(axes: Axes, reading: Reading) -> None:
    """Write a column's categories or dates on the x axis."""
    if reading.levels:
        places = range(len(reading.levels))
        crowded = sum(len(level[:12]) + 1.5 for level in reading.levels) > 38
        axes.set_xticks(
            places,
            [plain(level, 12) for level in reading.levels],
            rotation=35 if crowded else 0,
            ha="right" if crowded else "center",
            rotation_mode="anchor",
        )
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.grid(axis="x", visible=False)
        return
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if reading.dated:
        known = reading.numbers[~np.isnan(reading.numbers)]
        form = "%Y" if len(known) and np.ptp(known) > 4 * _YEAR else "%Y-%m-%d"
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: date(seconds, form)))


def span(reading: Reading) -> tuple[float, float]:
    """Where nearly all of a column's numbers lie."""
    known = reading.numbers[~np.isnan(reading.numbers)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.quantile(known, (0.02, 0.98))
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(high) + 0.5)
