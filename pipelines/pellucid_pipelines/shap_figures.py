"""SHAP values drawn by the `shap` package, on raw column names and raw values."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shap
from matplotlib import pyplot as plt
from matplotlib.transforms import Bbox

from pellucid_pipelines.drawing import INK, PALETTE, plain
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.preprocessing.tabular import numbers_of

_SHOWN = 12  # columns in a figure; shap adds up the rest
_POINTS = 2000  # rows in a beeswarm


def shap_figures(explained: Explained, directory: Path) -> None:
    """Write shap_bar.png, shap_beeswarm.png and shap_waterfall_<which>.png of typical rows.

    With several classes the bars are stacked by class, the beeswarm is of the class that is
    predicted most often, and a waterfall of the class that is predicted for its row. Typical rows:
    the most certain and uncertain predictions; for regression the highest, median and lowest.
    """
    mpl.use("agg")
    directory.mkdir(parents=True, exist_ok=True)
    several = len(explained.outputs) > 1
    winners = explained.prediction.argmax(axis=1)
    usual = int(np.bincount(winners).argmax())
    with _drawn(directory / "shap_bar.png", "What moves the prediction"):
        if several:
            _stacked_bars(explained)
        else:
            shap.plots.bar(_explanation(explained, 0), max_display=_SHOWN, show=False)
        plt.xlabel(f"mean |SHAP value|, {explained.unit}")
    often = ", the class predicted most often" if several else ""
    title = f"Column by column: {_quantity(explained, usual)}{often}"
    with _drawn(directory / "shap_beeswarm.png", title):
        swarm = _explanation(explained, usual)[:_POINTS]
        shap.plots.beeswarm(
            swarm,
            max_display=_SHOWN,
            group_remaining_features=False,
            color_bar_label="raw value",
            show=False,
        )
        plt.xlabel(f"SHAP value, {explained.unit} (grey: a category, or missing)")
    for which, (row, words) in _typical(explained).items():
        title = f"{words}: {_quantity(explained, int(winners[row]))}"
        with _drawn(directory / f"shap_waterfall_{which}.png", title):
            shap.plots.waterfall(_one(explained, row, int(winners[row])), _SHOWN, show=False)


@contextmanager
def _drawn(path: Path, title: str) -> Iterator[None]:
    """A pyplot figure, as shap's plots want it, saved and closed at the end."""
    with warnings.catch_warnings(), mpl.rc_context({"font.size": 10.5, "text.color": INK}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = plt.figure(dpi=120)
        try:
            yield
            boxes = [box for axes in figure.axes if (box := axes.get_tightbbox())]
            drawn = Bbox.union(boxes).transformed(figure.transFigure.inverted())
            words = _escaped(title)
            figure.text(
                drawn.x0, drawn.y1 + 0.03, words, fontsize=13, fontweight="bold", va="bottom"
            )
            figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.2)
        finally:
            plt.close(figure)


def _explanation(explained: Explained, output: int) -> shap.Explanation:
    """All rows for one output; numbers as numbers, categories as text."""
    columns = [_coloured(explained.rows[name]) for name in explained.columns]
    return shap.Explanation(
        values=explained.values[:, :, output],
        base_values=np.full(len(explained.rows), explained.base[output]),
        data=np.array(columns, dtype=object).T,
        feature_names=_names(explained),
    )


def _one(explained: Explained, row: int, output: int) -> shap.Explanation:
    """One row for one output, its values written out."""
    return shap.Explanation(
        values=explained.values[row, :, output],
        base_values=explained.base[output],
        data=np.array([_written(explained.rows[name].slice(row, 1)) for name in explained.columns]),
        feature_names=_names(explained),
    )


def _stacked_bars(explained: Explained) -> None:
    """Mean |SHAP| per column, a colour per class; beyond the palette, the rest in one."""
    sizes = np.abs(explained.values)
    order = np.argsort(-sizes.mean(axis=(0, 1)), kind="stable")
    own = order if len(order) <= len(PALETTE) else order[: len(PALETTE) - 1]
    parts = [sizes[:, :, k] for k in own]
    labels = [_escaped(plain(explained.outputs[k])) for k in own]
    if len(own) < len(order):
        parts.append(sizes[:, :, order[len(own) :]].sum(axis=2))
        labels.append(f"{len(order) - len(own)} other classes")
    shap.summary_plot(
        parts,
        feature_names=_names(explained),
        class_names=labels,
        class_inds="original",
        color=lambda i: PALETTE[i],
        plot_type="bar",
        max_display=_SHOWN,
        rng=np.random.default_rng(0),
        show=False,
    )


def _typical(explained: Explained) -> dict[str, tuple[int, str]]:
    """Which -> row and words for it."""
    raw = explained.prediction
    if raw.shape[1] > 1:
        best = np.sort(raw, axis=1)
        lead = best[:, -1] - best[:, -2]
        return {
            "certain": (int(lead.argmax()), "The most certain prediction"),
            "uncertain": (int(lead.argmin()), "The most uncertain prediction"),
        }
    order = np.argsort(raw[:, 0], kind="stable")
    high, low = (int(order[-1]), "The highest prediction"), (int(order[0]), "The lowest prediction")
    if explained.unit == "log-odds":
        nearest = int(np.abs(raw[:, 0]).argmin())
        return {"high": high, "low": low, "uncertain": (nearest, "The most uncertain prediction")}
    middle = int(order[len(order) // 2])
    return {"high": high, "median": (middle, "The median prediction"), "low": low}


def _quantity(explained: Explained, output: int) -> str:
    name = plain(explained.outputs[output], 40)
    return name if explained.unit.startswith("units of ") else f"{explained.unit} of {name}"


def _names(explained: Explained) -> list[str]:
    return [_escaped(plain(name, 30)) for name in explained.columns]


def _escaped(text: str) -> str:
    """Without mathematics: shap's own labels need it switched on."""
    return text.replace("$", r"\$")


def _coloured(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """Values that shap colours where they are numbers, and leaves grey where they are text."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array([f"'{text}'" for text in column.to_pylist()], dtype=object)
    numbers = numbers_of(column)
    numbers[np.isinf(numbers)] = np.nan
    return np.where(np.isnan(numbers).all(), "missing", numbers.astype(object))


def _written(cell: pa.ChunkedArray) -> str:
    """One value as text."""
    if cell.null_count or (value := _value(cell)) == "" or value != value:  # NaN
        return "missing"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return _escaped(plain(text, 24))


def _value(cell: pa.ChunkedArray) -> object:
    if pa.types.is_timestamp(cell.type):  # numpy writes years that Python's datetime has not
        return str(cell.to_numpy()[0].astype("datetime64[s]")).replace("T", " ")
    return cell[0].as_py()
