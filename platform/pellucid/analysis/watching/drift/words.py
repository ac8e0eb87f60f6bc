"""Drift in plain language, for whoever is woken by it."""

import numpy as np

from pellucid.analysis.watching.drift.distances import gaps, shares
from pellucid.analysis.watching.drift.findings import Finding
from pellucid.analysis.watching.profiles import Bins, Floats, Tally
from pellucid.analysis.watching.signals import Status

_EXACT = 10_000  # numbers below are written out
_BOTH = 0.5  # a gap on the other side of at least this part: values spread, not only moved


def sentence(found: Finding, status: Status, threshold: float, importance: float | None) -> str:
    """One finding in one line: what, how much, and how much the model leans on the column."""
    parts = [f"{found.subject}: {_statement(found, status, threshold)}"]
    if importance is not None and status is Status.ALARM:
        parts.append(f"it carries {percent(importance)} of the model's decisions")
    return "; ".join(parts) + "."


def _statement(found: Finding, status: Status, threshold: float) -> str:
    if found.obstacle:
        return found.obstacle
    share = found.statistic == "share"
    if status is Status.ALARM:
        return found.detail or _of_share(found)
    if status is Status.OK:
        return _ordinary(found)
    size = percent(threshold) if share else f"{threshold:g}"
    rows = f"{found.values:,} values against {found.known:,} of the reference are too few"
    if found.effect is not None and found.effect >= threshold:
        return f"{rows} to tell a difference from chance"
    return f"{rows} to rule out a difference of {size}"


def _ordinary(found: Finding) -> str:
    if found.statistic == "share":
        return f"{_NOUNS[found.kind]} {percent(found.current)}, as before"
    return "distributed as in the reference"


_NOUNS = {
    "missing": "missing in",
    "unseen": "values that no reference row had:",
    "outside": "values beyond the reference's range:",
    "type": "values of another type:",
}


def _of_share(found: Finding) -> str:
    now, before = percent(found.current), percent(found.reference)
    if found.kind == "missing":
        return f"missing in {now} of rows; it was {before}"
    what = {
        "unseen": "are strings that no reference row had",
        "outside": "lie beyond the range of the reference",
        "type": "are of another type than the column",
    }[found.kind]
    return f"{now} of values {what}; {before} were to be expected"


def moved(bins: Bins, reference: Tally, window: Tally) -> str:
    """How a distribution changed: numbers by where they went, strings by which grew and shrank."""
    if bins.kind == "category":
        return _categories(bins, shares(reference.counts), shares(window.counts))
    if not len(bins.edges):
        other = window.outside / max(int(window.counts.sum()), 1)
        return f"{percent(other)} of values are not {short(bins.low)}, the reference's only one"
    gap = gaps(reference.counts, window.counts)
    up, down = -float(gap.min(initial=0.0)), float(gap.max(initial=0.0))
    if min(up, down) <= _BOTH * max(up, down):
        return f"values are {'higher' if up > down else 'lower'}"
    return f"values are {'more' if gap.argmax() < gap.argmin() else 'less'} spread out"


def _categories(bins: Bins, before: Floats, now: Floats) -> str:
    names = [*(f"'{each}'" for each in bins.categories), "all other values"]
    change = now - before
    told = []
    for index in (int(np.argmax(change)), int(np.argmin(change))):
        verb = "rose" if change[index] > 0 else "fell"
        told.append(f"{names[index]} {verb} from {percent(before[index])} to {percent(now[index])}")
    return ", ".join(told)


def percent(share: float | None) -> str:
    """0.123 as 12%, with one decimal below ten."""
    if share is None:
        return "?"
    number = 100 * share
    if 0 < number < 0.1:
        return "under 0.1%"
    return f"{number:.1f}%" if 0 < number < 10 else f"{number:.0f}%"


def short(number: float) -> str:
    """A number in few characters: 36k, 1.2M, 0.034."""
    if not np.isfinite(number) or abs(number) >= 1e15:
        return f"{number:.3g}"
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= max(unit, _EXACT):
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
