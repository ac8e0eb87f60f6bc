"""The look of every figure, in one place; no pyplot, so no global state between figures."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, QUIET, RULE = "#1f2937", "#6b7280", "#d1d5db"
BLUE, ORANGE, GREEN, RED = "#2563eb", "#ea580c", "#059669", "#dc2626"
PALETTE = (
    BLUE, ORANGE, GREEN, "#9333ea", "#0891b2",
    "#ca8a04", "#db2777", "#4d7c0f", "#7c2d12", "#64748b",
)  # fmt: skip
_LABELS = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "f1": "F1", "r2": "R²"}

_STYLE: Any = {
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a column may be called "price in $"
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": "#eceff3",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2,
}


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size (inches) to draw on, saved as a PNG at the end."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")


def plain(text: object, longest: int = 24) -> str:
    """A user's text on one line, cut to a length."""
    line = " ".join(str(text).split())
    if len(line) > longest:
        return line[: longest - 1] + "…"
    return line


def label_of(metric: str) -> str:
    """How a score is called in a figure."""
    short = len(metric) <= 4
    return _LABELS.get(metric) or (metric.upper() if short else metric.replace("_", " "))


def file_name(text: str) -> str:
    """A user's text as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", text)[:60]


def note(axes: Axes, text: str) -> None:
    """Say in an empty plot why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)
