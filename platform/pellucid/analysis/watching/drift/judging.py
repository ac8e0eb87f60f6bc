"""The verdict on a window: which columns drifted, how much, since when, how much it matters."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np

from pellucid.analysis.watching.drift.findings import Finding, examine
from pellucid.analysis.watching.drift.levels import Levels
from pellucid.analysis.watching.drift.significance import benjamini_hochberg
from pellucid.analysis.watching.drift.words import moved, sentence, short
from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.analysis.watching.signals import Signal, SignalKind, Status

_OUTPUTS = "outputs."
_ORDER = [Status.ALARM, Status.UNCLEAR, Status.ABSENT, Status.OK]


def judge(
    reference: Profile,
    window: Profile,
    *,
    importance: Mapping[str, float],
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None = None,
) -> list[Signal]:
    """Every column of the reference against the window's, what matters most first.

    alarm: the difference is certain (`Levels`) and at least as large as matters. ok: whatever the
    difference is, it is smaller than that, at the levels' confidence. unclear: neither is shown,
    mostly for too few rows. absent: cannot be told, however many rows there will be.

    Args:
        reference: of the training rows; outputs are columns named `outputs.*`.
        window: in the same bins. Its other columns are not looked at.
        importance: column -> share of all mean |SHAP values|.
        levels: what an alarm takes.
        since: key of a signal -> when it began to alarm, from the window before; see `ongoing`.
        start: of the window, from which new alarms date.

    Returns:
        Alarms, then what is unclear, absent and ok; each by effect times importance.
    """
    found = [each for name in reference.bins for each in _column(reference, window, name, levels)]
    tested = [each for each in found if each.effect is not None]
    rejected = benjamini_hochberg(np.array([each.p_value for each in tested]), levels.columns)
    certain = {id(each) for each, sure in zip(tested, rejected, strict=True) if sure}
    signals = [
        _signal(each, id(each) in certain, importance, levels, since, start) for each in found
    ]
    return in_order(signals, importance)


def in_order(signals: Iterable[Signal], importance: Mapping[str, float]) -> list[Signal]:
    """Signals by status, then by effect times importance.

    What is no column, such as an output, concerns the whole model and counts 1; a column of
    unknown importance counts as one of average importance.
    """
    average = sum(importance.values()) / len(importance) if importance else 1.0

    def rank(signal: Signal) -> tuple[int, float, str]:
        known = 1.0 if signal.kind in _OF_MODEL else average
        weight = known if signal.importance is None else signal.importance
        return _ORDER.index(signal.status), -(signal.effect or 0.0) * weight, signal.key

    return sorted(signals, key=rank)


_OF_MODEL: tuple[SignalKind, ...] = ("output", "multivariate")


def ongoing(since: Mapping[str, datetime], signals: Iterable[Signal]) -> dict[str, datetime]:
    """`since` for the next window: alarms go on, and through windows that cannot tell; ok ends."""
    kept = dict(since)
    for signal in signals:
        if signal.status is Status.ALARM and signal.since is not None:
            kept[signal.key] = signal.since
        elif signal.status is Status.OK:
            kept.pop(signal.key, None)
    return kept


def _column(reference: Profile, window: Profile, name: str, levels: Levels) -> list[Finding]:
    kind: SignalKind = "output" if name.startswith(_OUTPUTS) else "drift"
    bins, old, new = reference.bins[name], reference.tallies[name], window.tallies.get(name)
    if new is None or len(new.counts) != len(bins):
        obstacle = "not in the window" if new is None else "not counted in the reference's bins"
        return [Finding(kind, name, "none", obstacle=obstacle, absent=True)]
    found = examine(name, kind, bins, old, new, levels.confidence)
    first = found[0]
    if first.effect is not None:
        detail = moved(bins, old, new)
        if first.current is not None and first.reference is not None:
            then, now = short(first.reference), _median(first.current, bins, new)
            detail += f"; median moved from {then} to {now}" if then != now else ""
        found[0] = replace(first, detail=detail)
    return found


def _median(value: float, bins: Bins, window: Tally) -> str:
    """A median in words: beyond the reference's range only a limit of it is known."""
    if 2 * window.outside > window.counts.sum():
        if value <= bins.edges[0]:
            return f"at most {short(value)}"
        if value >= bins.edges[-1]:
            return f"at least {short(value)}"
    return short(value)


def _signal(
    found: Finding,
    certain: bool,
    importance: Mapping[str, float],
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None,
) -> Signal:
    threshold = levels.smallest(found.kind)
    status = _status(found, certain, threshold)
    part = importance.get(found.subject)
    key = f"{found.kind}:{found.subject}"
    tested = found.effect is not None
    return Signal(
        kind=found.kind,
        subject=found.subject,
        status=status,
        summary=sentence(found, status, threshold, part),
        statistic=found.statistic,
        effect=found.effect,
        threshold=threshold if tested else None,
        p_value=found.p_value if tested else None,
        reference=found.reference,
        current=found.current,
        low=found.low,
        high=found.high,
        importance=part,
        measures=found.measures,
        since=since.get(key, start) if status is Status.ALARM else None,
    )


def _status(found: Finding, certain: bool, threshold: float) -> Status:
    if found.effect is None:
        return Status.ABSENT if found.absent else Status.UNCLEAR
    if certain and found.effect >= threshold:
        return Status.ALARM
    return Status.OK if found.upper < threshold else Status.UNCLEAR
