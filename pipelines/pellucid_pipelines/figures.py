"""Figures of a run: learning curves, and how well the predictions fit on held-out rows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import Outcomes
from pellucid.jobs.workspace import Metric
from pellucid_pipelines.classification_figures import (
    calibration_figure,
    confusion_figure,
    threshold_figures,
)
from pellucid_pipelines.drawing import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    RED,
    drawn,
    file_name,
    label_of,
    note,
    plain,
)
from pellucid_pipelines.evaluate import HEADLINES, Evaluation, kind_of_task

Series = dict[str, tuple[list[int], list[float]]]  # key -> steps, values
_VERDICTS = {  # colour, and what the legend says
    "better": (GREEN, "better than the whole"),
    "worse": (RED, "worse than the whole"),
    "no difference shown": (BLUE, "no difference from the whole shown"),
}
_MANY = 3000  # more points than this are drawn as a density


def learning_curves(points: Iterable[Metric], directory: Path) -> None:
    """Write learning_curves.png: loss, validation scores, learning rate and gradient norm by epoch.

    Args:
        points: of the metric spool; other keys are passed over, and so is what is not finite.
        directory: where to write.
    """
    series: Series = defaultdict(lambda: ([], []))
    for point in sorted(points, key=lambda point: point.step):
        if point.step > 0 and np.isfinite(point.value):
            series[point.key][0].append(point.step)
            series[point.key][1].append(point.value)
    losses = {key: series[f"{key}/loss"] for key in ("train", "validation")}
    scores = {
        key.removeprefix("validation/"): values
        for key, values in series.items()
        if key.startswith("validation/") and key != "validation/loss"
    }
    with drawn(directory / "learning_curves.png", 11, 7) as figure:
        panels = figure.subplots(2, 2)
        _lines(panels[0, 0], "Loss", losses)
        _mark_best(panels[0, 0], *losses["validation"])
        _lines(panels[0, 1], "Validation scores", scores)
        _lines(panels[1, 0], "Learning rate", {"lr": series["lr"]})
        _lines(panels[1, 1], "Gradient norm", {"norm": series["gradient_norm"]})


def evaluation_figures(
    truth: np.ndarray,
    prediction: np.ndarray,
    evaluation: Evaluation,
    *,
    classes: tuple[int | str, ...] | None,
    positive: int | None,
    directory: Path,
    weight: np.ndarray | None = None,
) -> None:
    """Write the figures of the held-out rows; the arguments are those of `evaluate`.

    Classification: confusion_matrix.png, roc.png, precision_recall.png, calibration.png.
    Regression: predicted_vs_actual.png, residuals.png and, of a forecast, error_by_step.png.
    Either: groups_<column>.png for every sensitive column.
    """
    if classes is None:
        if truth.ndim == 2:
            _error_by_step(truth, prediction, weight, directory)
        _predicted_vs_actual(truth.ravel(), prediction.ravel(), evaluation.metrics, directory)
        _residuals(truth.ravel(), prediction.ravel(), directory)
    else:
        rows = Outcomes(truth, prediction, positive)
        if evaluation.confusion is not None:
            confusion_figure(evaluation.confusion, classes, directory)
        threshold_figures(rows, classes, weight, evaluation.metrics, directory)
        calibration_figure(rows, weight, evaluation.metrics, directory)
    names = HEADLINES[kind_of_task(len(classes or ()))]
    for column in dict.fromkeys(row["column"] for row in evaluation.groups):
        table = [row for row in evaluation.groups if row["column"] == column]
        _groups(column, table, evaluation.metrics, names, directory)


def _lines(axes: Axes, title: str, curves: Mapping[str, tuple[list[int], list[float]]]) -> None:
    axes.set_title(title)
    drawn_values = [value for _, values in curves.values() for value in values]
    if not drawn_values:
        note(axes, "not recorded")
        return
    for name, (steps, values) in curves.items():
        axes.plot(
            steps, values, label=label_of(plain(name)), marker="o" if len(steps) == 1 else None
        )
    if title != "Learning rate" and max(drawn_values) > 50 * min(drawn_values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(curves) > 1 or title == "Validation scores":
        axes.legend()


def _mark_best(axes: Axes, steps: Sequence[int], losses: Sequence[float]) -> None:
    if not losses:
        return
    best = int(np.argmin(losses))
    axes.axvline(steps[best], color=QUIET, linewidth=1, linestyle=":")
    axes.plot(steps[best], losses[best], "o", color=ORANGE, label=f"best, epoch {steps[best]}")
    axes.legend()


def _predicted_vs_actual(
    truth: np.ndarray, prediction: np.ndarray, metrics: Mapping[str, Interval], directory: Path
) -> None:
    with drawn(directory / "predicted_vs_actual.png", 6.6, 6.2) as figure:
        axes = figure.subplots()
        _cloud(axes, truth, prediction)
        ends = [min(truth.min(), prediction.min()), max(truth.max(), prediction.max())]
        axes.plot(ends, ends, color=INK, linewidth=1.2, linestyle="--")
        axes.set_title("Predicted and actual")
        axes.set(xlabel="actual", ylabel="predicted", aspect="equal")
        lines = [f"{label_of(name)} {metrics[name]}" for name in ("r2", "rmse")]
        axes.text(0.03, 0.97, "\n".join(lines), transform=axes.transAxes, va="top")


def _residuals(truth: np.ndarray, prediction: np.ndarray, directory: Path) -> None:
    residual = truth - prediction
    with drawn(directory / "residuals.png", 10, 5) as figure:
        axes, beside = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
        _cloud(axes, prediction, residual)
        axes.axhline(0, color=INK, linewidth=1.2, linestyle="--")
        order = np.argsort(prediction)
        slices = [part for part in np.array_split(order, min(20, len(order))) if len(part)]
        axes.plot(
            [np.median(prediction[part]) for part in slices],
            [np.median(residual[part]) for part in slices],
            color=ORANGE, label="median",
        )  # fmt: skip
        axes.legend(loc="upper left")
        axes.set_title("Residuals")
        axes.set(xlabel="predicted", ylabel="actual minus predicted")
        beside.hist(residual, bins=40, orientation="horizontal", color=BLUE, rwidth=0.92)
        beside.set(xlabel="rows")


def _error_by_step(
    truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None, directory: Path
) -> None:
    """How the error of a forecast (N, steps) grows with the step."""
    squares = np.average((prediction - truth) ** 2, axis=0, weights=weight)
    absolute = np.average(np.abs(prediction - truth), axis=0, weights=weight)
    steps = np.arange(1, truth.shape[1] + 1)
    with drawn(directory / "error_by_step.png", 8, 5) as figure:
        axes = figure.subplots()
        marker = "o" if len(steps) <= 48 else None
        axes.plot(steps, np.sqrt(squares), marker=marker, label=label_of("rmse"))
        axes.plot(steps, absolute, marker=marker, label=label_of("mae"))
        axes.set_title("Error by step ahead")
        axes.set(xlabel="step ahead", ylabel="error, in the target's units")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Points; a density where they would hide each other."""
    if len(x) > _MANY:
        axes.hexbin(x, y, gridsize=60, bins="log", cmap="Blues", mincnt=1, linewidths=0.2)
    else:
        axes.scatter(x, y, s=14, alpha=0.45, color=BLUE, linewidths=0)


def _groups(
    column: str,
    table: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Interval],
    names: Sequence[str],
    directory: Path,
) -> None:
    """One panel a score: every group's value and limits, against the value of all rows."""
    groups = list(dict.fromkeys((row["group"], row["rows"]) for row in table))
    height = 1.9 + 0.42 * len(groups)
    with drawn(directory / f"groups_{file_name(column)}.png", 12, height) as figure:
        panels = figure.subplots(1, len(names), sharey=True)
        for axes, name in zip(panels, names, strict=True):
            overall = metrics[name]
            axes.axvspan(overall.low, overall.high, color="#f1f5f9")
            axes.axvline(overall.value, color=QUIET, linewidth=1, linestyle="--")
            for place, row in enumerate(row for row in table if row["metric"] == name):
                _whisker(axes, place, row)
            if np.isnan(overall.value):
                note(axes, "not defined")
            axes.set_title(label_of(name), fontsize=11)
            axes.grid(axis="y", visible=False)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        panels[0].set_yticks(range(len(groups)), [f"{plain(g)}  (n = {n:,})" for g, n in groups])
        panels[0].set_ylim(len(groups) - 0.5, -0.5)
        figure.suptitle(f"By {plain(column, 40)}", x=0.01, ha="left", fontweight="bold")
        _explain_verdicts(figure)


def _whisker(axes: Axes, place: int, row: Mapping[str, Any]) -> None:
    colour, _ = _VERDICTS.get(row["verdict"], (QUIET, ""))
    axes.plot([row["low"], row["high"]], [place, place], color=colour, alpha=0.5)
    axes.plot(row["value"], place, "o", color=colour, markersize=6)


def _explain_verdicts(figure: Figure) -> None:
    entries = [*_VERDICTS.values(), (QUIET, "no verdict")]
    marks = [Line2D([], [], color=colour, marker="o", linestyle="") for colour, _ in entries]
    names = [name for _, name in entries]
    figure.legend(marks, names, loc="outside lower right", ncols=len(marks))
