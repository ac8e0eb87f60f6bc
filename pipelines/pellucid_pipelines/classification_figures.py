"""Figures of a classifier on held-out rows: confusion, thresholds, calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from pellucid.analysis.calibration import reliability
from pellucid.analysis.intervals import Interval, wilson
from pellucid.analysis.scores import Outcomes
from pellucid_pipelines.drawing import (
    BLUE,
    INK,
    PALETTE,
    QUIET,
    RULE,
    drawn,
    note,
    plain,
)


def confusion_figure(counts: np.ndarray, classes: Sequence[int | str], directory: Path) -> None:
    """Write confusion_matrix.png from (K, K) counts; the colour is the share of the true class."""
    size = len(classes)
    side = float(np.clip(3.2 + 0.55 * size, 5.2, 12))
    with drawn(directory / "confusion_matrix.png", side + 0.8, side) as figure:
        axes = figure.subplots()
        totals = counts.sum(1, keepdims=True)
        share = counts / np.where(totals > 0, totals, 1)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
        bar.outline.set_visible(False)
        places = range(0, size, max(1, size // 30))
        labels = [plain(classes[place], 16) for place in places]
        upright = max(map(len, labels)) * size > 40
        axes.set_xticks(
            places, labels, rotation=45 if upright else 0, ha="right" if upright else "center"
        )
        axes.set_yticks(places, labels)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title("Confusion matrix", pad=12)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if size <= 20:
            _write_cells(axes, counts, share)


def _write_cells(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    small = len(counts) > 6
    for row, column in np.argwhere(counts > 0):
        text = f"{counts[row, column]:,.0f}"
        if not small:
            text += f"\n{share[row, column]:.0%}"
        colour = "white" if share[row, column] > 0.55 else INK
        axes.text(
            column, row, text, ha="center", va="center", color=colour, fontsize=9 if small else 12
        )


def threshold_figures(
    rows: Outcomes,
    classes: Sequence[int | str],
    weight: np.ndarray | None,
    metrics: Mapping[str, Interval],
    directory: Path,
) -> None:
    """Write roc.png and precision_recall.png: of the positive class, or each against the rest."""
    scored = range(rows.classes) if rows.positive is None else [rows.positive]
    present = [k for k in scored if 0 < np.count_nonzero(rows.truth == k) < len(rows)]
    with drawn(directory / "roc.png", 6.6, 6) as figure:
        axes = _unit_square(figure, "ROC", "false positive rate", "true positive rate")
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2, linestyle="--")
        for k in present:
            false, true, _ = roc_curve(rows.truth == k, rows.prediction[:, k], sample_weight=weight)
            axes.plot(false, true, **_line_of(k, present, classes))
        _finish(axes, present, f"ROC-AUC {metrics['roc_auc']}", "lower right")
    with drawn(directory / "precision_recall.png", 6.6, 6) as figure:
        axes = _unit_square(figure, "Precision and recall", "recall", "precision")
        for k in present:
            precision, recall, _ = precision_recall_curve(
                rows.truth == k, rows.prediction[:, k], sample_weight=weight
            )
            axes.step(recall, precision, where="post", **_line_of(k, present, classes))
        if len(present) == 1:
            chance = float(np.average(rows.truth == present[0], weights=weight))
            axes.axhline(chance, color=RULE, linewidth=1.2, linestyle="--")
        _finish(axes, present, f"PR-AUC {metrics['pr_auc']}", "lower left")


def _unit_square(figure: Figure, title: str, x: str, y: str) -> Axes:
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")
    axes.set_title(title)
    return axes


def _line_of(k: int, present: Sequence[int], classes: Sequence[int | str]) -> dict[str, Any]:
    """One class: bold. A few: a colour each. Many: thin and grey."""
    if len(present) > len(PALETTE):
        return {"color": QUIET, "alpha": 0.45, "linewidth": 1}
    style: dict[str, Any] = {"label": plain(classes[k], 20)}
    return style | {"color": BLUE} if len(present) == 1 else style | {"linewidth": 1.5}


def _finish(
    axes: Axes,
    present: Sequence[int],
    summary: str,
    place: Literal["lower left", "lower right"],
) -> None:
    if not present:
        note(axes, "not defined: the test rows\nare all of one class")
        return
    if len(present) > 1:
        summary = f"mean {summary}"
    if len(present) > len(PALETTE):
        axes.plot([], [], color=QUIET, label=f"{len(present)} classes, each against the rest")
    columns = 2 if 5 < len(present) <= len(PALETTE) else 1
    axes.legend(loc=place, title=summary, alignment="left", ncols=columns)


def calibration_figure(
    rows: Outcomes,
    weight: np.ndarray | None,
    metrics: Mapping[str, Interval],
    directory: Path,
) -> None:
    """Write calibration.png: the reliability curve over a histogram of the probabilities."""
    event, probability = rows.event()
    bins = reliability(event, probability, weight)
    shares = [wilson(found.observed, found.rows) for found in bins]
    observed = np.array([share.value for share in shares])
    reach = [observed - [s.low for s in shares], [s.high for s in shares] - observed]
    of = "the positive class" if rows.positive is not None else "the predicted class"
    with drawn(directory / "calibration.png", 6.6, 7) as figure:
        axes, below = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2, linestyle="--")
        axes.errorbar(
            [found.predicted for found in bins], observed, yerr=np.abs(reach),
            fmt="o-", color=BLUE, ecolor="#93c5fd", elinewidth=1.5, markersize=5,
        )  # fmt: skip
        axes.set_title("Calibration")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed share (95 % limits)")
        axes.text(0.03, 0.95, f"ECE {metrics['ece']}", transform=axes.transAxes, va="top")
        below.hist(probability, bins=20, range=(0, 1), color=BLUE, weights=weight, rwidth=0.92)
        below.set(xlabel=f"probability of {of}", ylabel="rows")
