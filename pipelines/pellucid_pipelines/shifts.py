"""Two versions of a model compared: what does the new one rest on that the old one did not?"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pellucid.analysis.shifts import Shifts, compare_importance
from pellucid.bundle import EXPLANATIONS, Bundle
from pellucid_pipelines.drawing import BLUE, QUIET, RULE, drawn, plain

_SHOWN = 12  # columns


def importance_of(bundle: Bundle) -> dict[str, float]:
    """Raw column -> mean |SHAP| over the rows that the bundle explains; empty where it has none."""
    path = bundle.root / EXPLANATIONS
    if not path.is_file():
        return {}
    inputs = [each.name for each in bundle.manifest.features]
    stored = pq.read_schema(path).names[len(inputs) :]
    found = {}
    for name in inputs:  # in order; underscores are appended to a name that is taken
        values = f"shap_{name}".rstrip("_")
        place = next((i for i, each in enumerate(stored) if each.rstrip("_") == values), None)
        if place is not None:
            column = pq.read_table(path, columns=[stored[place]]).column(0)
            found[name] = float(np.abs(column.to_numpy()).mean())
            stored = stored[place + 1 :]
    return found


def compare(old: Bundle, new: Bundle) -> Shifts:
    """How the columns' parts of all importance moved, each on its own version's test rows."""
    return compare_importance(importance_of(old), importance_of(new))


def draw(shifts: Shifts, names: tuple[str, str], path: Path) -> None:
    """Write a figure of how each column's part moved from one version to another."""
    shown = sorted(shifts.columns, key=lambda each: -max(each.old, each.new))[:_SHOWN]
    with drawn(path, 8.5, 1.7 + 0.36 * len(shown)) as figure:
        axes = figure.subplots()
        places = np.arange(len(shown))
        old, new = [100 * each.old for each in shown], [100 * each.new for each in shown]
        axes.hlines(places, old, new, color=RULE, linewidth=3)
        axes.plot(old, places, "o", color=QUIET, label=plain(names[0], 40))
        axes.plot(new, places, "o", color=BLUE, label=plain(names[1], 40))
        axes.set_yticks(places, [plain(each.column, 30) for each in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        axes.set_title(f"What the predictions rest on: {shifts.moved:.0%} of it moved")
        axes.set_xlabel("percent of mean |SHAP value|, all columns together")
