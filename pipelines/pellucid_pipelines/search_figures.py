"""The figures of a hyper-parameter search: what was tried, and what it depended on."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pellucid.plan import Search
from pellucid.resources.jobs import JobStatus
from pellucid.search.study import Trial, higher_is_better, rebuilt
from pellucid_pipelines.drawing import BLUE, INK, QUIET, drawn

_SEED = 0


def search_figures(study: dict[str, Any], directory: Path) -> None:
    """Write search_history.png, parallel_coordinates.png and search_importance.png.

    The last two need two trials of different values, the last one also a space of two paths.

    Args:
        study: as `pellucid.search.records.study_of` gives it.
        directory: where to write.
    """
    search = Search.model_validate(study["search"])
    trials = [
        Trial(each["trial"], each["params"], JobStatus(each["status"]), each["value"])
        for each in study["trials"]
    ]
    done = [trial for trial in trials if trial.value is not None]
    if not done:
        return
    _history(search, done, directory)
    if len({trial.value for trial in done}) > 1:
        _parallel(search, done, directory)
        _importance(search, trials, directory)


def importance(search: Search, trials: list[Trial]) -> dict[str, float]:
    """Path -> its share in what makes trials differ, by fANOVA (Hutter et al., 2014)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        return optuna.importance.get_param_importances(rebuilt(search, trials), evaluator=evaluator)


def _history(search: Search, done: list[Trial], directory: Path) -> None:
    """The value of each trial, and the best up to it."""
    values = np.array([trial.value for trial in done])
    best = (np.maximum if higher_is_better(search) else np.minimum).accumulate(values)
    with drawn(directory / "search_history.png", 8, 4.5) as figure:
        axes = figure.subplots()
        axes.set_title("Trials")
        numbers = [trial.number for trial in done]
        axes.plot(numbers, values, "o", color=QUIET, label="trial")
        axes.step(numbers, best, where="post", color=BLUE, label="best so far")
        axes.set_xlabel("trial")
        axes.set_ylabel(_label(search))
        axes.legend()


def _parallel(search: Search, done: list[Trial], directory: Path) -> None:
    """A line per trial over its values; the better, the darker and the further in front."""
    paths = list(search.space)
    scales = [_scale(search, path, done) for path in paths]
    values = np.array([float(trial.value or 0.0) for trial in done])
    heights = np.column_stack([*(places for places, _ in scales), _spread(values)])
    order = np.argsort(-values if not higher_is_better(search) else values)
    with drawn(directory / "parallel_coordinates.png", 2.2 * len(paths) + 4, 5) as figure:
        axes = figure.subplots()
        axes.set_title("What each trial tried")
        across = np.arange(len(paths) + 1)
        lines = LineCollection(
            [np.column_stack([across, heights[i]]) for i in order], cmap="Blues", linewidths=1.6
        )
        lines.set_array(np.linspace(0.25, 1.0, len(order)))
        lines.set_clim(0, 1)
        axes.add_collection(lines)
        axes.set_xlim(-0.25, len(paths) + 0.5)
        axes.set_ylim(-0.06, 1.06)
        axes.set_xticks(across, [*paths, _label(search)])
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        for x, (_, ticks) in enumerate(scales):
            _ticks(axes, x, ticks)
        _ticks(axes, len(paths), {0.0: f"{values.min():.4g}", 1.0: f"{values.max():.4g}"})


def _importance(search: Search, trials: list[Trial], directory: Path) -> None:
    if len(search.space) < 2:
        return
    shares = importance(search, trials)
    names = sorted(shares, key=lambda name: shares[name])
    with drawn(directory / "search_importance.png", 8, 1.6 + 0.45 * len(names)) as figure:
        axes = figure.subplots()
        axes.set_title("What the result depended on")
        axes.barh(names, [shares[name] for name in names], color=BLUE)
        axes.set_xlabel("share of the variance between trials (fANOVA)")
        axes.set_xlim(0, 1)


def _scale(search: Search, path: str, done: list[Trial]) -> tuple[np.ndarray, dict[float, str]]:
    """(trials,) heights from 0 to 1 on the axis of a path, and labels at heights."""
    entry = search.space[path]
    if entry.kind == "choice":
        labels = [str(value) for value in entry.values]
        places = np.linspace(0, 1, len(labels)) if len(labels) > 1 else np.array([0.5])
        chosen = np.array([labels.index(str(trial.params[path])) for trial in done])
        return places[chosen], dict(zip(places.tolist(), labels, strict=True))
    values = np.array([float(trial.params[path]) for trial in done])
    low, high = entry.bounds
    ends = {0.0: f"{low:.4g}", 1.0: f"{high:.4g}"}
    if entry.log:
        return np.log(values / low) / np.log(high / low), ends
    return (values - low) / (high - low), ends


def _spread(values: np.ndarray) -> np.ndarray:
    spread: np.ndarray = (values - values.min()) / (values.max() - values.min())
    return spread


def _ticks(axes: Axes, x: float, ticks: dict[float, str]) -> None:
    for height, label in ticks.items():
        short = label if len(label) <= 24 else label[:23] + "…"
        axes.annotate(
            short,
            (x, height),
            (4, 0),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            va="center",
        )


def _label(search: Search) -> str:
    return f"validation {search.metric or 'loss'}"
