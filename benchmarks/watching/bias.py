"""Metrics by group: how fast, the same as fairlearn's, and do intervals hold what they say."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from inference.acceptance import Promise
from numpy.typing import NDArray
from scipy import stats

from pellucid.analysis.calibration import BINS
from pellucid.analysis.fairness.counting import Table, count
from pellucid.analysis.fairness.cuts import Coded, crossed
from pellucid.analysis.fairness.metrics import METRICS, Estimates
from watching.scale import Scale

TITLE = "Metrics by group"
ROWS, PEER_ROWS, RESAMPLES = 10_000_000, 100_000, 100
GROUPS = 5, 10
REPEATS, SIZES = 4000, (50, 200, 1000)
CONFIDENCE = 0.95
_ROUNDS = 3
_TIMED = ("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Predictions with their truth, and the rows' groups of two sensitive columns."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score: Floats
    predicted: NDArray[np.bool_]
    truth: NDArray[np.int8]

    @classmethod
    def draw(cls, rows: int, seed: int) -> "Rows":
        rng = np.random.default_rng(seed)
        first, second = rng.integers(GROUPS[0], size=rows), rng.integers(GROUPS[1], size=rows)
        score = rng.beta(2 + 0.1 * first, 3 - 0.1 * second)
        truth = (rng.random(rows) < 0.9 * score + 0.05).astype(np.int8)
        return cls(first, second, score, score > 0.5, truth)

    def table(self) -> Table:
        """Counted in the intersections of the columns."""
        columns = zip(("a", "b"), (self.first, self.second), GROUPS, strict=True)
        coded = [
            Coded(name, tuple(map(str, range(groups))), (False,) * groups, codes)
            for name, codes, groups in columns
        ]
        both = crossed(coded)
        return count(both.codes, len(both.names), self.predicted, self.truth, self.score)


def measure(scale: Scale) -> dict[str, Any]:
    """Seconds, largest difference to fairlearn, and coverage."""
    rows = Rows.draw(scale.rows(ROWS), 0)
    seconds = [_timed(lambda: estimates(rows.table()))[1] for _ in range(_ROUNDS)]
    return {
        "rows": len(rows.truth),
        "groups": GROUPS[0] * GROUPS[1],
        "metrics": len(METRICS),
        "seconds": seconds,
        "fairlearn": _fairlearn(scale),
        "coverage": coverage(REPEATS),
    }


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    title = f"{found['rows'] / 1e6:g}M rows, {found['groups']} groups, {found['metrics']} metrics"
    yield Promise(f"{title}: seconds", statistics.median(found["seconds"]), 2, at_most=True)
    text = "largest difference to fairlearn's MetricFrame"
    yield Promise(text, found["fairlearn"]["difference"], 1e-9, at_most=True)
    means = {name: statistics.mean(each.values()) for name, each in found["coverage"].items()}
    lowest = min(means, key=lambda name: means[name])
    yield Promise(f"lowest coverage of 95% intervals: {lowest}", means[lowest], 0.94)


def page(found: dict[str, Any]) -> Iterator[str]:
    theirs = found["fairlearn"]
    yield (
        f"{found['metrics']} metrics with 95% intervals in {found['groups']} intersections of two "
        f"columns, {found['rows']:,} rows with score, prediction and truth in memory, one process: "
        f"{statistics.median(found['seconds']):.2f} s. fairlearn {theirs['version']}, "
        f"{theirs['rows']:,} rows, {len(theirs['metrics'])} of the metrics, {theirs['resamples']} "
        f"bootstraps: {theirs['seconds']:.1f} s; ours, all metrics of these rows: "
        f"{theirs['our_seconds']:.3f} s. Largest difference of any metric in any group: "
        f"{theirs['difference']:.1e}."
    )
    sizes = list(next(iter(found["coverage"].values())))
    heads = " | ".join(f"{int(rows):,} rows" for rows in sizes)
    yield from ("", "How often intervals hold the true value, simulated:", "")
    yield f"| metric | {heads} |"
    yield "|---|" + "---:|" * len(sizes)
    for name, each in found["coverage"].items():
        yield f"| {name} | " + " | ".join(f"{each[rows]:.1%}" for rows in sizes) + " |"


def estimates(table: Table) -> dict[str, Estimates]:
    """All metrics with their limits."""
    return {name: metric.of(table, CONFIDENCE) for name, metric in METRICS.items()}


def _fairlearn(scale: Scale) -> dict[str, Any]:
    """The same numbers by MetricFrame, and what its bootstrap takes on fewer rows."""
    rows = Rows.draw(PEER_ROWS, 1)
    ours, our_seconds = _timed(lambda: estimates(rows.table()))
    found = _frame(rows, METRICS).by_group
    difference = max(
        np.abs(found[name].to_numpy(float) - each.value).max() for name, each in ours.items()
    )
    resamples = scale.rows(RESAMPLES, least=2)
    _, seconds = _timed(lambda: _frame(rows, _TIMED, resamples))
    return {
        "version": version("fairlearn"),
        "rows": PEER_ROWS,
        "resamples": resamples,
        "metrics": list(_TIMED),
        "seconds": seconds,
        "our_seconds": our_seconds,
        "difference": float(difference),
    }


def _frame(rows: Rows, names: Iterable[str], resamples: int | None = None) -> Any:
    from fairlearn.metrics import MetricFrame

    known = _functions()
    functions = {name: known[name] for name in names}
    bootstrap: dict[str, Any] = {}
    if resamples:
        bootstrap = {"n_boot": resamples, "ci_quantiles": [0.025, 0.975], "random_state": 0}
    scores = {name: {"score": rows.score} for name in functions if name in _OF_SCORES}
    features = pd.DataFrame({"a": rows.first, "b": rows.second})
    return MetricFrame(
        metrics=functions, y_true=rows.truth, y_pred=rows.predicted.astype(int),
        sensitive_features=features, sample_params=scores, **bootstrap,
    )  # fmt: skip


_OF_SCORES = ("mean_score", "calibration_gap", "calibration_error")


def _functions() -> dict[str, Callable[..., float]]:
    """fairlearn's and scikit-learn's; what neither has, straight from its definition."""
    from fairlearn import metrics as fair
    from sklearn import metrics as plain

    return {
        "selection_rate": fair.selection_rate,
        "mean_score": lambda _true, _predicted, score: float(np.mean(score)),
        "base_rate": lambda true, _predicted: float(np.mean(true)),
        "accuracy": plain.accuracy_score,
        "true_positive_rate": fair.true_positive_rate,
        "false_positive_rate": fair.false_positive_rate,
        "true_negative_rate": fair.true_negative_rate,
        "false_negative_rate": fair.false_negative_rate,
        "precision": plain.precision_score,
        "negative_predictive_value": lambda t, p: plain.precision_score(t, p, pos_label=0),
        "calibration_gap": lambda true, _predicted, score: float(np.mean(score - true)),
        "calibration_error": _calibration_error,
    }


def _calibration_error(true: Any, _predicted: Any, score: Any) -> float:
    frame = pd.DataFrame({"gap": np.asarray(score) - np.asarray(true)})
    bins = np.minimum((np.asarray(score) * BINS).astype(int), BINS - 1)
    return float(frame["gap"].groupby(bins).sum().abs().sum() / len(frame))


def coverage(repeats: int) -> dict[str, dict[str, float]]:
    """Metric -> rows of the group -> how often the limits hold the true value.

    Scores have a few values, each with a known probability and a known share of YES (the model is a
    bit overconfident), so that the true value of every metric is a sum.
    """
    score = (np.arange(20) + 0.5) / 20
    weight = stats.beta(2, 2).pdf(score)
    weight /= weight.sum()
    share = 0.1 + 0.8 * score
    true = _true_values(score, weight, share)
    found: dict[str, dict[str, float]] = {name: {} for name in METRICS}
    for rows in SIZES:
        rng = np.random.default_rng(rows)
        drawn = rng.choice(len(score), repeats * rows, p=weight)
        truth = rng.random(repeats * rows) < share[drawn]
        group, scores = np.repeat(np.arange(repeats), rows), score[drawn]
        table = count(group, repeats, scores > 0.5, truth, scores)
        for name, each in estimates(table).items():
            known = np.isfinite(each.low)
            held = (each.low <= true[name]) & (true[name] <= each.high)
            found[name][str(rows)] = float(held[known].mean())
    return found


def _true_values(score: Floats, weight: Floats, share: Floats) -> dict[str, float]:
    yes, no, selected = weight * share, weight * (1 - share), score > 0.5
    hit, false = float(yes[selected].sum()), float(no[selected].sum())
    right, missed = float(no[~selected].sum()), float(yes[~selected].sum())
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weight * (score - share), BINS)
    return {
        "selection_rate": hit + false,
        "mean_score": float(weight @ score),
        "base_rate": hit + missed,
        "accuracy": hit + right,
        "true_positive_rate": hit / (hit + missed),
        "false_positive_rate": false / (false + right),
        "true_negative_rate": right / (false + right),
        "false_negative_rate": missed / (hit + missed),
        "precision": hit / (hit + false),
        "negative_predictive_value": right / (right + missed),
        "calibration_gap": float(weight @ (score - share)),
        "calibration_error": float(np.abs(gaps).sum()),
    }


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    found = run()
    return found, time.perf_counter() - started
