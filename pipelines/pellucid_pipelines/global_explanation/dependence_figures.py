"""SHAP dependence with interactions, and partial dependence with the curves of single rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from pellucid.analysis.interactions import strongest_partner
from pellucid.bundle import Input
from pellucid_pipelines.drawing import BLUE, INK, PALETTE, QUIET, RULE, note, plain
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation.dependence import Dependence
from pellucid_pipelines.global_explanation.panels import grid, scale, span
from pellucid_pipelines.global_explanation.readings import Reading, read
from pellucid_pipelines.global_explanation.subject import Floats

PANELS = 6
_PARTNERS = 40  # of the strongest columns
_OWN_BINS, _OTHER_BINS = 8, 3
_LEVELS, _COLOURED = 10, 5  # categories on an axis, and told apart by colours
_CURVES = 60
_LINES = 6  # outputs in a panel
_HIGH = "#e11d48"
_LOW_HIGH = LinearSegmentedColormap.from_list("low_high", (BLUE, "#8b5cf6", _HIGH))


def shap_dependence(
    explained: Explained, inputs: Sequence[Input], output: int, path: Path
) -> dict[str, tuple[str, float]]:
    """Draw the strongest columns, coloured by the column that interacts most with each.

    Returns:
        Column -> its partner and how much they interact, of columns that have one.
    """
    order = [explained.columns.index(name) for name in explained.importance()]
    readings = {i: read(explained.rows[inputs[i].name], inputs[i]) for i in order[:_PARTNERS]}
    groups = {i: reading.groups(_OTHER_BINS) for i, reading in readings.items()}
    partners = {}
    title = f"How SHAP values depend on the columns ({_unit(explained, output)})"
    with grid(path, min(PANELS, len(order)), title) as panels:
        for axes, column in zip(panels, order, strict=False):
            own, values = readings[column], explained.values[:, column, output]
            others = [i for i in readings if i != column]
            place, strength = strongest_partner(
                values, own.groups(_OWN_BINS), [groups[i] for i in others]
            )
            partner = readings[others[place]] if place >= 0 else None
            _cloud(axes, own, values, partner)
            if partner is not None:
                partners[own.name] = (partner.name, strength)
    return partners


def partial_dependence(
    found: Sequence[Dependence], outputs: Sequence[str], quantity: str, path: Path
) -> None:
    """Draw partial dependence; of one output with centred curves of single rows, and a rug.

    The rows' curves start where the partial dependence does, so that it is their mean.
    """
    single = len(outputs) == 1
    spread = np.sum([np.ptp(each.mean, axis=0) for each in found], axis=0)
    shown = sorted(np.argsort(-spread, kind="stable")[:_LINES].tolist())
    with grid(path, len(found), f"Partial dependence of {quantity}") as panels:
        for axes, each in zip(panels, found, strict=True):
            if single:
                _with_rows(axes, each)
            else:
                _by_output(axes, each, outputs, shown)
            _rug(axes, each.reading)
            scale(axes, each.reading)
            axes.set_title(plain(each.reading.name, 32), fontsize=11)
        marks = _marks_of_rows() if single else panels[0].get_lines()[:-1]  # the last is the rug
        panels[0].figure.legend(handles=marks, loc="outside lower left", ncols=4, fontsize=9)


def _marks_of_rows() -> list[Line2D]:
    return [
        Line2D([], [], color=BLUE, linewidth=2.5, marker="o", label="mean of all rows"),
        Line2D([], [], color=QUIET, linewidth=1, alpha=0.5, label="a row, from a common start"),
        Line2D([], [], color=QUIET, linewidth=5, alpha=0.35, label="80% of the rows"),
        Line2D([], [], color=INK, marker="|", linestyle="", alpha=0.5, label="where rows lie"),
    ]


def _cloud(axes: Axes, own: Reading, values: Floats, partner: Reading | None) -> None:
    """SHAP values by the column's own, coloured by its partner's."""
    own = own.merged(_LEVELS)
    x = own.numbers
    if own.levels:
        x = x + np.random.default_rng(0).uniform(-0.3, 0.3, len(x))
    axes.axhline(0, color=RULE, linewidth=1)
    if np.isnan(x).all():
        note(axes, "missing in every row")
    elif partner is None:
        _points(axes, x, values, color=BLUE)
    elif partner.levels:
        _by_level(axes, x, values, partner.merged(_COLOURED))
    else:
        _by_number(axes, x, values, partner)
    axes.set_title(plain(own.name, 32), fontsize=11, pad=20)
    scale(axes, own)


def _by_level(axes: Axes, x: Floats, values: Floats, partner: Reading) -> None:
    marks = [_mark(PALETTE[code], plain(level, 9)) for code, level in enumerate(partner.levels)]
    for code in range(len(partner.levels)):
        mine = partner.numbers == code
        _points(axes, x[mine], values[mine], color=PALETTE[code])
    _legend(axes, partner, marks)


def _by_number(axes: Axes, x: Floats, values: Floats, partner: Reading) -> None:
    low, high = span(partner)
    known = ~np.isnan(partner.numbers)
    _points(axes, x[~known], values[~known], color=RULE)
    colours = {"c": partner.numbers[known], "cmap": _LOW_HIGH, "vmin": low, "vmax": high}
    _points(axes, x[known], values[known], **colours)
    marks = [_mark(BLUE, partner.written(low)), _mark(_HIGH, partner.written(high))]
    _legend(axes, partner, marks)


def _points(axes: Axes, x: Floats, y: Floats, **options: Any) -> None:
    axes.scatter(x, y, s=13, linewidths=0, alpha=0.8, **options)


def _mark(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=5, linestyle="", label=label)


def _legend(axes: Axes, partner: Reading, marks: Sequence[Line2D]) -> None:
    """One line between the title and the panel, where no point can lie."""
    name = Line2D([], [], linestyle="", label=f"by {plain(partner.name, 20)}")
    axes.legend(
        handles=[name, *marks], loc="lower left", bbox_to_anchor=(-0.06, 0.985), fontsize=8,
        ncols=len(marks) + 1, handlelength=0.6, handletextpad=0.3, columnspacing=0.7,
        borderpad=0, framealpha=0,
    )  # fmt: skip


def _with_rows(axes: Axes, each: Dependence) -> None:
    """The mean, and around it the rows' curves; of categories the middle eight tenths of rows."""
    mean, curves = each.mean[:, 0], each.centred[:, :, 0] + each.mean[0, 0]
    low, high = np.quantile(curves, (0.1, 0.9), axis=1)
    if each.reading.levels:
        axes.vlines(each.grid, low, high, color=QUIET, alpha=0.35, linewidth=5)
        axes.plot(each.grid, mean, "o", color=BLUE, markersize=7)
    else:
        axes.plot(each.grid, curves[:, :_CURVES], color=QUIET, linewidth=0.7, alpha=0.25)
        axes.plot(each.grid, mean, color=BLUE, linewidth=2.5, zorder=3)
        low, high = np.quantile(curves, (0.02, 0.98), axis=1)
    bottom, top = min(low.min(), mean.min()), max(high.max(), mean.max())
    room = 0.08 * (top - bottom) or 0.01
    axes.set_ylim(bottom - 2 * room, top + room)


def _by_output(axes: Axes, each: Dependence, outputs: Sequence[str], shown: Sequence[int]) -> None:
    style = "o" if each.reading.levels else "-"
    for k in shown:
        colour = PALETTE[k % len(PALETTE)]
        axes.plot(each.grid, each.mean[:, k], style, color=colour, label=plain(outputs[k], 18))
    axes.margins(y=0.12)


def _rug(axes: Axes, reading: Reading) -> None:
    """A mark for every row at the foot of the panel."""
    places = reading.numbers[~np.isnan(reading.numbers)]
    if reading.levels:
        places = places + np.random.default_rng(0).uniform(-0.25, 0.25, len(places))
    foot = np.full(len(places), 0.03)
    axes.plot(
        places, foot, "|", color=INK, alpha=0.3, markersize=7, markeredgewidth=0.7,
        transform=axes.get_xaxis_transform(), scalex=False, scaley=False,
    )  # fmt: skip


def _unit(explained: Explained, output: int) -> str:
    name = plain(explained.outputs[output], 30)
    return (
        explained.unit if explained.unit.startswith("units of ") else f"{explained.unit} of {name}"
    )
