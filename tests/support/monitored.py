"""A window with findings of every kind, for what shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.analysis.watching.signals import Signal, Status
from pellucid.monitoring.checks import figures
from pellucid.monitoring.checks.verdicts import overall, verdict
from pellucid.monitoring.watch.resources import Figures, WindowResult

START = datetime(2026, 11, 21, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = "<script>alert('x')</script>"
LONG = "a_column_name_that_somebody_generated_and_nobody_would_ever_type_by_hand_0042"


def signal(kind: Any, subject: str, status: Status = Status.OK, **fields: Any) -> Signal:
    """A signal with the fields that every one has."""
    told = {"summary": f"{subject} is as it was.", "statistic": "ks", "effect": 0.01}
    return Signal(kind=kind, subject=subject, status=status, **(told | {"threshold": 0.1} | fields))


def profile(shift: float, rows: int, seed: int) -> Profile:
    """Of an amount, a purpose with a hostile category, and the outputs."""
    random = np.random.default_rng(seed)
    edges = np.quantile(np.random.default_rng(0).lognormal(8, 0.6, 10_000), np.linspace(0, 1, 65))
    bins = {
        "amount": Bins("number", edges[1:-1], edges[0], edges[-1]),
        "purpose": Bins("category", categories=("car", "furniture & radio", HOSTILE, "boat")),
        "outputs.probabilities.bad": Bins("number", np.linspace(0.02, 0.98, 49), 0.0, 1.0),
        "constant": Bins("number", np.empty(0), 1.0, 1.0),
    }
    amount = random.lognormal(8 + shift, 0.6, rows)
    score = random.beta(2, 5 - 2 * shift, rows)
    found = {
        "amount": _number(bins["amount"], amount),
        "purpose": Tally(
            np.bincount(random.choice(5, rows, p=_mix(shift)), minlength=5), missing=rows // 50
        ),
        "outputs.probabilities.bad": _number(bins["outputs.probabilities.bad"], score),
        "constant": Tally(np.array([rows])),
    }
    return Profile(bins, found, rows)


def result(**changes: Any) -> WindowResult:
    """A window in which much is wrong."""
    signals = [
        signal(
            "drift", "amount", Status.ALARM, effect=0.42, p_value=1e-30, importance=0.38,
            since=START - 3 * HOUR,
            summary="amount: 42% of its rows lie elsewhere than in training; typical values are "
            "higher (median 4,420 instead of 2,980).",
        ),
        signal("drift", "purpose", effect=0.02, p_value=0.4, importance=0.21),
        signal("drift", LONG, effect=0.01, p_value=0.9, importance=0.0),
        signal(
            "unseen", "purpose", Status.ALARM, statistic="share", effect=0.061, threshold=0.01,
            current=0.061, reference=0.0, importance=0.21, since=START,
            summary=f"purpose: 6.1% of rows hold values that training never saw, as {HOSTILE}.",
        ),
        signal(
            "output", "outputs.probabilities.bad", Status.ALARM, effect=0.2, p_value=1e-9,
            since=START, summary="The scores for bad rose: mean 0.39 instead of 0.29.",
        ),
        signal(
            "multivariate", "all columns", Status.ALARM, statistic="roc_auc", current=0.71,
            low=0.68, high=0.74, threshold=0.6, since=START,
            summary="A classifier tells this window's rows from held-out ones: ROC AUC 0.71.",
        ),
        signal("sequential", "outputs.probabilities.bad", summary="No change point in the stream."),
        signal(
            "performance", "roc_auc", Status.ALARM, statistic="roc_auc", effect=0.09,
            threshold=0.03, current=0.71, low=0.67, high=0.75, reference=0.80, since=START,
            summary="ROC AUC fell to 0.71 (0.67 to 0.75); it was 0.80 on held-out rows.",
        ),
        signal(
            "performance", "accuracy", Status.UNCLEAR, statistic="accuracy", current=0.74,
            low=0.66, high=0.81, reference=0.79, summary="Too few labels for a verdict.",
        ),
        signal(
            "estimate", "accuracy", Status.OK, statistic="accuracy", current=0.77, low=0.74,
            high=0.8, reference=0.79, summary="The scores suggest an accuracy of 0.77.",
        ),
        signal(
            "bias", "selection_rate by sex", Status.ALARM, statistic="ratio", current=0.71,
            low=0.64, high=0.79, threshold=0.8, since=START - HOUR,
            summary="Women are selected 0.71 times as often as men (0.64 to 0.79); 0.8 is asked.",
        ),
        signal(
            "traffic", "clock", Status.ABSENT, statistic="rows", effect=None, threshold=None,
            summary="12 predictions carry times of the future: check the clock of the server.",
        ),
    ]  # fmt: skip
    before, now = profile(0.0, 10_000, 1), profile(0.35, 2_000, 2)
    importance = {"amount": 0.38, "purpose": 0.21}
    fields: dict[str, Any] = {
        "model": "credit",
        "version": 3,
        "start": START,
        "end": START + HOUR,
        "rows": 2_000,
        "status": overall(signals),
        "alarms": sum(each.status is Status.ALARM for each in signals),
        "judged_at": START + HOUR + timedelta(minutes=6),
        "verdict": verdict(signals, 2_000),
        "signals": signals,
        "figures": Figures(
            columns=figures.columns(before, now, signals, importance),
            quality=figures.quality(before, now),
            reference_rows=before.rows,
        ),
    }
    return WindowResult(**(fields | changes))


def _number(bins: Bins, values: Any) -> Tally:
    places = np.searchsorted(bins.edges, values, side="left")
    outside = int(((values < bins.low) | (values > bins.high)).sum())
    return Tally(np.bincount(places, minlength=len(bins)), outside=outside)


def _mix(shift: float) -> list[float]:
    moved = 0.2 * shift
    return [0.4 - moved, 0.3, 0.2, 0.1, moved]
