"""What is found out about one column: its distribution, and its shares of odd values."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtri

from pellucid.analysis.contests import two_proportions
from pellucid.analysis.intervals import wilson
from pellucid.analysis.watching.drift import distances
from pellucid.analysis.watching.drift.differences import (
    comparable,
    familiar,
    largest_variation,
    noise,
    of_distribution,
    of_share,
)
from pellucid.analysis.watching.drift.distances import Counted
from pellucid.analysis.watching.drift.significance import effective
from pellucid.analysis.watching.profiles import Bins, Tally
from pellucid.analysis.watching.signals import SignalKind


@dataclass(frozen=True)
class Finding:
    """What was found out about a column, before it is known what is found out about the others.

    Attributes:
        effect: None where nothing can be compared; `obstacle` says why.
        upper: the effect is at most that, at the level's confidence.
        absent: whether more rows in the window would not help either.
        values, known: how many the window and the reference have.
        measures: other distances of the same two distributions.
    """

    kind: SignalKind
    subject: str
    statistic: str
    detail: str = ""
    effect: float | None = None
    upper: float = 1.0
    p_value: float = 1.0
    reference: float | None = None
    current: float | None = None
    low: float | None = None
    high: float | None = None
    values: int = 0
    known: int = 0
    obstacle: str = ""
    absent: bool = False
    measures: dict[str, float] = field(default_factory=dict)


def examine(
    subject: str, kind: SignalKind, bins: Bins, reference: Tally, window: Tally, confidence: float
) -> list[Finding]:
    """All findings about one column; `kind` is that of its distribution: drift or output."""
    odd: SignalKind = "outside" if bins.kind == "number" else "unseen"
    return [
        _distribution(subject, kind, bins, reference, window, confidence),
        *(
            _share(subject, each, bins, reference, window, confidence)
            for each in ("missing", odd, "type")
        ),
    ]


def _distribution(
    subject: str, kind: SignalKind, bins: Bins, reference: Tally, window: Tally, confidence: float
) -> Finding:
    statistic = "ks" if bins.kind == "number" else "total_variation"
    old, new = comparable(bins, reference), comparable(bins, window)
    n, m = int(old.sum()), int(new.sum())
    if not n or not m:
        obstacle = "the reference has no values" if not n else _empty(window)
        return Finding(kind, subject, statistic, values=m, obstacle=obstacle, absent=not n)
    effect, p_value = (float(each) for each in of_distribution(bins, old, new))
    reach = float(ndtri(confidence)) * 0.5 / np.sqrt(float(effective(n, m)))
    upper = effect + reach
    if bins.kind == "category":
        chance = float(noise(old, new))
        observed = float(distances.total_variation(old, new))
        upper = largest_variation(max(observed, chance) + reach, chance)
    found = Finding(
        kind,
        subject,
        statistic,
        effect=effect,
        upper=upper,
        p_value=p_value,
        values=m,
        known=n,
        measures=measure(bins, reference, window),
    )
    return found if bins.kind == "category" else _with_medians(found, bins, reference, window)


def _with_medians(found: Finding, bins: Bins, reference: Tally, window: Tally) -> Finding:
    if not len(bins.edges):
        return found
    reach = 0.98 / np.sqrt(found.values)  # 95% limits of the rank of the median
    levels = (0.5, max(0.0, 0.5 - reach), min(1.0, 0.5 + reach))
    current, low, high = (distances.quantile(window.counts, bins.edges, each) for each in levels)
    before = distances.quantile(reference.counts, bins.edges, 0.5)
    return replace(found, reference=before, current=current, low=low, high=high)


def _share(
    subject: str, kind: SignalKind, bins: Bins, reference: Tally, window: Tally, confidence: float
) -> Finding:
    of_rows = kind in ("missing", "type")
    n, m = (t.rows if of_rows else int(t.counts.sum()) for t in (reference, window))
    hits = {"missing": window.missing, "type": window.wrong}.get(kind, window.outside)
    if not n or not m or (kind == "unseen" and not bins.closed):
        absent = not n or (kind == "unseen" and not bins.closed)
        obstacle = _empty(window)
        if absent:
            obstacle = (
                "too many different values to know them all" if n else "the reference has no values"
            )
        return Finding(kind, subject, "share", values=m, obstacle=obstacle, absent=absent)
    usual = min(familiar(kind, bins, reference), n)
    effect, p_value = (float(each) for each in of_share(kind, usual, n, hits, m))
    limits = two_proportions(usual, n, hits, m, 2 * confidence - 1)
    upper = max(limits.high, -limits.low) if kind == "missing" else limits.high
    share = wilson(hits / m, m)
    return Finding(
        kind,
        subject,
        "share",
        effect=effect,
        upper=max(upper, effect),
        p_value=p_value,
        reference=usual / n,
        current=hits / m,
        low=share.low,
        high=share.high,
        values=m,
        known=n,
    )


def measure(bins: Bins, reference: Tally, window: Tally) -> dict[str, float]:
    """All distances between two distributions that have values, by name.

    Of numbers, all but the first two are taken over ten groups of about equal reference share, as
    is the custom for PSI: over many small bins they would measure noise.
    """
    old: Counted = comparable(bins, reference)
    new: Counted = comparable(bins, window)
    found = {}
    if bins.kind == "number":
        found["ks"] = distances.kolmogorov_smirnov(old, new)
        found["wasserstein"] = distances.wasserstein(old, new, bins.edges)
        old, new = distances.grouped(old, new)
    found["psi"] = distances.population_stability(old, new)
    found["jensen_shannon"] = distances.jensen_shannon(old, new)
    found["total_variation"] = distances.total_variation(old, new)
    return {name: float(each) for name, each in found.items()}


def _empty(window: Tally) -> str:
    if not window.rows:
        return "the window has no rows"
    return f"none of the window's {window.rows:,} values can be compared"
