"""What steps and tokens mean over all explained rows."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from pellucid_pipelines.drawing import BLUE, QUIET, RED, drawn, plain
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation.places import by_step, token_records

_COLUMNS = 16
_TOKENS = 12  # for, and against, an output
_PANELS = 3  # outputs


def steps_figure(explained: Explained, path: Path) -> None:
    """Mean |SHAP| of each column and step, the last step on the right, and of all columns."""
    assert explained.places is not None, "there are values of steps"
    sizes = by_step(explained.places)
    order = np.argsort(-sizes.sum(axis=0), kind="stable")[:_COLUMNS]
    steps = np.arange(1 - len(sizes), 1)
    with drawn(path, 10, 3.1 + 0.26 * len(order)) as figure:
        above, axes = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1 + 0.26 * len(order)])
        above.bar(steps, sizes.sum(axis=1), color=BLUE, width=0.8)
        above.set_title("Which steps move the prediction")
        above.set_ylabel("all columns")
        above.yaxis.set_major_locator(MaxNLocator(3))
        extent = (float(steps[0]) - 0.5, 0.5, len(order) - 0.5, -0.5)
        image = axes.imshow(
            sizes[:, order].T, cmap="Blues", vmin=0, aspect="auto", interpolation="none",
            extent=extent,
        )  # fmt: skip
        axes.set_yticks(range(len(order)), [plain(explained.columns[i]) for i in order])
        axes.grid(visible=False)
        axes.set_xlabel("steps before the last one")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(image, ax=axes, fraction=0.03, label=f"mean |SHAP|, {explained.unit}")


def tokens_figure(explained: Explained, path: Path) -> None:
    """The tokens that speak most for and against an output, of those that several rows hold."""
    records = [each for each in token_records(explained) if each["rows"] > 1]
    outputs = list(dict.fromkeys(each["output"] for each in records))[:_PANELS]
    if not outputs:
        return
    with drawn(path, max(7, 4.5 * len(outputs)), 7) as figure:
        panels = figure.subplots(1, len(outputs), squeeze=False)[0]
        for axes, output in zip(panels, outputs, strict=True):
            mine = [each for each in records if each["output"] == output]
            ranked = sorted(mine, key=lambda each: each["mean_shap"])
            low = [each for each in ranked[:_TOKENS] if each["mean_shap"] < 0]
            high = [each for each in ranked[-_TOKENS:] if each["mean_shap"] > 0]
            bars = [*low, *high]
            values = [each["mean_shap"] for each in bars]
            colours = [RED if value > 0 else BLUE for value in values]
            axes.barh(range(len(bars)), values, color=colours, height=0.7)
            axes.axvline(0, color=QUIET, linewidth=1)
            names = [f"{plain(each['token'], 16)} ({each['rows']})" for each in bars]
            axes.set_yticks(range(len(bars)), names)
            axes.grid(axis="y", visible=False)
            axes.set_title(f"For and against {plain(output, 24)}", fontsize=11)
            axes.set_xlabel(f"mean SHAP value, {plain(explained.unit, 30)} (rows)")
