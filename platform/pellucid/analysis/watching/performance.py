"""Whether a model does worse than when it was tested: scores with limits, and verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from pellucid.analysis.calibration import Floats
from pellucid.analysis.intervals import Interval, bootstrap, wilson
from pellucid.analysis.scores import Outcomes, Score
from pellucid.analysis.watching.signals import Signal, SignalKind, Status

BLIND = (
    "It rests on the model's own answers: if the same inputs have come to mean something else "
    "(concept drift), no estimate sees it, only labels do."
)
_ROWS = 8_000  # that are resampled; of more, the limits are scaled
_RESAMPLES = 300
_UNBOUNDED = ("log_loss", "brier", "mae", "mse", "rmse", "mape")  # their drop is relative


@dataclass(frozen=True)
class Minimums:
    """What an alarm about performance takes.

    It takes all of: labels enough; limits that lie beyond the reference by the smallest drop that
    matters; and a p-value of "no worse than the reference" so small that a year of windows in which
    nothing changes has a false alarm with a chance of `alpha` at most, whatever the scores share.

    Attributes:
        drop: in a score between 0 and 1, or an R2.
        relative: part of the reference by which an error, which has no bound, may grow.
        labels: rows without which nothing is said.
        alpha: 0 to 1.
        windows_per_year: how many windows are judged.
        confidence: of the limits.
    """

    drop: float = 0.03
    relative: float = 0.10
    labels: int = 100
    alpha: float = 0.05
    windows_per_year: float = 365.0
    confidence: float = 0.95

    def of(self, score: Score, reference: float) -> float:
        """The smallest drop that matters, in the score's units."""
        return self.relative * abs(reference) if score.name in _UNBOUNDED else self.drop


@dataclass(frozen=True)
class Found:
    """A score in a window, and what it was.

    Attributes:
        rows: that it was taken on.
        reference: of the held-out rows, the limits as far as they are known; None: not known.
        among: how many scores are judged with it.
        unreliable: why nothing should follow from it; "" of all others.
    """

    kind: SignalKind
    score: Score
    interval: Interval
    rows: int
    reference: Interval | None
    among: int = 1
    unreliable: str = ""


def measure(
    scores: Sequence[Score], outcomes: Outcomes, *, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Scores of rows whose truth is known, with limits.

    Accuracy, and with two classes precision and recall, are shares of independent rows: Wilson's
    limits. All others: the BCa bootstrap up to 8,000 rows. Of more rows the score is still taken on
    all of them, and the limits are those of 8,000, brought nearer by the root of how many more
    there are (the m-out-of-n bootstrap; Bickel, Goetze and van Zwet, Statistica Sinica 1997).
    """
    rows = len(outcomes)
    found: dict[str, Interval] = {}
    others = [score for score in scores if score.name not in _shares(outcomes)]
    for score in scores:
        value = float(score.weighted(outcomes, np.ones(rows)))
        found[score.name] = Interval(value, np.nan, np.nan)
        if score not in others:
            found[score.name] = wilson(value, _shares(outcomes)[score.name], confidence)
    if rows < 2 or not others:
        return found
    chosen = np.arange(rows)
    if rows > _ROWS:
        chosen = np.random.default_rng(seed).choice(rows, _ROWS, replace=False)
    some = outcomes.take(chosen)

    def statistic(weight: Floats) -> Floats:
        return np.stack([score.weighted(some, weight) for score in others], axis=-1)

    sampled = bootstrap(statistic, len(some), resamples=_RESAMPLES, seed=seed)
    for place, score in enumerate(others):
        if rows <= _ROWS:
            found[score.name] = sampled.interval(confidence, place)
            continue
        value = found[score.name].value
        resampled = sampled.resampled[:, place]
        spread = float(np.nanstd(resampled)) if np.isfinite(resampled).any() else np.nan
        reach = float(ndtri((1 + confidence) / 2)) * spread * np.sqrt(_ROWS / rows)
        found[score.name] = Interval(value, value - reach, value + reach)
    return found


def verdict(found: Found, minimums: Minimums) -> Signal:
    """What a score says, compared to what it was on held-out rows."""
    score, interval, reference = found.score, found.interval, found.reference
    if not np.isfinite(interval.value):
        reason = "these rows do not define it, such as rows of a single class"
        return _signal(found, Status.ABSENT, f"{_name(score)} cannot be told: {reason}.")
    if reference is None or not np.isfinite(reference.value):
        said = f"{_stated(found)}; there is no held-out value to compare it to."
        return _signal(found, Status.ABSENT, said)
    drop = minimums.of(score, reference.value)
    before = f"{_stated(found)}; it was {reference.value:.3g} on held-out rows"
    if found.unreliable:
        return _signal(found, Status.UNCLEAR, f"{before}. {found.unreliable}", drop)
    if found.rows < minimums.labels or not np.isfinite(interval.low + interval.high):
        return _signal(found, Status.UNCLEAR, f"{before}. Too few rows to judge it.", drop)
    worse = sorted(score.sign * (reference.value - each) for each in (interval.low, interval.high))
    p_value = _p_value(score, interval, reference, minimums.confidence)
    level = minimums.alpha / minimums.windows_per_year / found.among
    if worse[0] >= drop and p_value <= level:
        said = f"{before}: worse by {worse[0]:.2g} at least, and {drop:.2g} is what matters."
        return _signal(found, Status.ALARM, said, drop, p_value)
    if worse[1] < drop:
        return _signal(found, Status.OK, f"{before}: no drop of {drop:.2g}.", drop, p_value)
    said = f"{before}: too few rows to tell whether it fell by {drop:.2g}."
    if worse[0] >= drop:
        much = f"worse by {worse[0]:.2g} at least"
        said = f"{before}: {much}, but in a year of windows chance does as much."
    return _signal(found, Status.UNCLEAR, said, drop, p_value)


def _p_value(score: Score, now: Interval, reference: Interval, confidence: float) -> float:
    """Of a score at least as bad if the model does as well as it did, by the normal law."""
    spread = float(np.hypot(_spread(now, confidence), _spread(reference, confidence)))
    change = score.sign * (now.value - reference.value)
    if not spread > 0:
        return 0.0 if change < 0 else 1.0
    return float(ndtr(change / spread))


def _spread(interval: Interval, confidence: float) -> float:
    """The standard error that limits stand for; 0 where there are none."""
    reach = (interval.high - interval.low) / 2
    return reach / float(ndtri((1 + confidence) / 2)) if np.isfinite(reach) else 0.0


def _shares(outcomes: Outcomes) -> dict[str, float]:
    """Score -> independent rows that it is a share of."""
    if outcomes.prediction.ndim != 2 or outcomes.truth.ndim != 1:
        return {}
    found = {"accuracy": float(len(outcomes))}
    if outcomes.positive is not None:
        found["precision"] = float((outcomes.label == outcomes.positive).sum())
        found["recall"] = float((outcomes.truth == outcomes.positive).sum())
    return found


def _stated(found: Found) -> str:
    interval = found.interval
    limits = f" ({interval.low:.3g} to {interval.high:.3g})" if np.isfinite(interval.low) else ""
    how = "is estimated at" if found.kind == "estimate" else "is"
    rows = "predictions" if found.kind == "estimate" else "labelled predictions"
    return f"{_name(found.score)} {how} {interval.value:.3g}{limits} on {found.rows:,} {rows}"


_NAMES = {
    "roc_auc": "ROC AUC", "pr_auc": "PR AUC", "f1": "F1", "mae": "MAE", "mse": "MSE",
    "rmse": "RMSE", "r2": "R2", "mape": "MAPE", "ece": "ECE",
}  # fmt: skip


def _name(score: Score) -> str:
    return _NAMES.get(score.name, score.name.replace("_", " ").capitalize())


def _signal(
    found: Found,
    status: Status,
    summary: str,
    threshold: float | None = None,
    p_value: float | None = None,
) -> Signal:
    interval, reference = found.interval, found.reference
    before = None if reference is None else finite(reference.value)
    value = finite(interval.value)
    known = value is not None and before is not None
    effect = found.score.sign * (before - value) if known else None  # type: ignore[operator]
    return Signal(
        kind=found.kind,
        subject=found.score.name,
        status=status,
        summary=f"{summary} {BLIND}" if found.kind == "estimate" else summary,
        statistic=found.score.name,
        effect=effect,
        threshold=threshold,
        p_value=p_value,
        reference=before,
        current=value,
        low=finite(interval.low),
        high=finite(interval.high),
    )


def finite(number: float) -> float | None:
    """The number, None where it is not defined."""
    return float(number) if np.isfinite(number) else None
