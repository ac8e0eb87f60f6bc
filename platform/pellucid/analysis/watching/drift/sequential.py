"""Change points in a stream of one number: of a window's mean, an hour's share, or every row.

Windows are judged one by one against the reference; a stream is judged as a whole. So a small
change that no single window shows is found once it has lasted, and its beginning with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from pellucid.analysis.watching.drift.levels import Levels
from pellucid.analysis.watching.drift.words import short
from pellucid.analysis.watching.profiles import Floats
from pellucid.analysis.watching.signals import Signal, Status

_BASE = 30  # values that tell what is usual
_RANGE = 4.0  # deviations on either side that ADWIN, which is for bounded numbers, is shown
_OVERSHOOT = 1.166  # by how much a random walk is past a barrier: Siegmund's correction, both sides


@dataclass(frozen=True)
class Regime:
    """Where a stream stands: from value `start` on it has not changed."""

    start: int
    mean: float
    error: float


def judge_stream(
    subject: str,
    times: Sequence[datetime],
    values: Floats,
    *,
    levels: Levels,
    streams: int = 1,
    usual: tuple[float, float] | None = None,
) -> list[Signal]:
    """Two detectors over a stream of independent values, oldest first, from its beginning.

    Page-Hinkley (Page, Biometrika 1954) finds a small lasting change within tens of values; ADWIN
    (Bifet and Gavalda, SDM 2007) assumes nothing of the values' distribution and needs hundreds.
    Either alarms from the change on, `since`, until the stream is back where it was.

    The hours of a day differ: give the stream of one hour, or of days. Values that are not finite
    are left out.

    Args:
        subject: what the numbers are.
        times: (t,) when each window started.
        values: (t,) the numbers.
        levels: what an alarm takes; an effect is in standard deviations of the stream.
        streams: how many are judged; they share the levels' part for streams.
        usual: mean and standard deviation of the stream; by default those of its first 30 values.

    Raises:
        ValueError: times and values are not equally many.
    """
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times of {len(values)} values")
    kept = np.flatnonzero(np.isfinite(values)).tolist()
    values, times = np.asarray(values, np.float64)[kept], [times[i] for i in kept]
    enough = len(values) >= _BASE
    if usual is None and enough:
        usual = _usual(values)
    level = levels.streams / (2 * max(1, streams))
    threshold = levels.smallest("sequential")
    signals = []
    for name in ("page_hinkley", "adwin"):
        if not enough or usual is None:
            summary = f"{subject}: values so far: {len(values)}; {_BASE} tell what is usual."
            signals.append(_signal(subject, name, Status.UNCLEAR, summary))
            continue
        detector = adwin(level) if name == "adwin" else page_hinkley(level, threshold)
        found = _follow(values, usual, threshold, detector)
        signals.append(_verdict(subject, name, times, usual, threshold, found))
    return signals


def _usual(values: Floats) -> tuple[float, float]:
    """Mean and deviation of the first values; where they are constant, the deviation of all."""
    centre, scale = float(values[:_BASE].mean()), float(values[:_BASE].std(ddof=1))
    return centre, scale if scale > 1e-9 * abs(centre) else float(values.std()) or 1.0


def page_hinkley(level: float, effect: float) -> Any:
    """Page and Hinkley's test of river, for values in standard deviations.

    It allows for half the effect. Its threshold makes false alarms as rare as one in 1 / level
    values, by Siegmund's approximation of a one-sided test's run length:
    (exp(2kb) - 2kb - 1) / (2k^2), with allowance k and threshold b - 1.166.
    """
    from river.drift import PageHinkley

    allowance = max(effect, 1e-3) / 2
    low, high = 0.0, 1e6
    while high - low > 1e-6 * high:
        b = (low + high) / 2
        power = min(2 * allowance * b, 700.0)
        length = (np.exp(power) - power - 1) / (2 * allowance**2)
        low, high = (b, high) if length < 2 / level else (low, b)
    threshold = max(high - _OVERSHOOT, 0.0)
    return PageHinkley(min_instances=_BASE, delta=allowance, threshold=threshold, alpha=1.0)


def adwin(level: float) -> Any:
    """Adaptive windowing of river, which alarms falsely at any value with at most this chance."""
    from river.drift import ADWIN

    detector: Any = ADWIN  # it has no annotations
    return _Bounded(detector(delta=level, clock=1))


class _Bounded:
    """A detector that is shown deviations as numbers from 0 to 1."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def update(self, value: float) -> None:
        self._detector.update(min(max(value / (2 * _RANGE) + 0.5, 0.0), 1.0))

    @property
    def drift_detected(self) -> bool:
        return bool(self._detector.drift_detected)


def change_point(values: Floats) -> int:
    """Where the mean changes, if it does once: the index of the first value after (1 to t - 1).

    The likeliest for normal values of one variance (Hinkley, Biometrika 1970).
    """
    total = len(values)
    before = np.arange(1, total)
    excess = np.cumsum(values - values.mean())[:-1]
    return int(np.argmax(excess**2 / (before * (total - before)))) + 1


def _follow(
    values: Floats, usual: tuple[float, float], threshold: float, detector: Any
) -> tuple[int | None, Regime]:
    """From which value on the stream has been away from where it was, and where it is now."""
    centre, scale = usual
    scaled = (values - centre) / (scale or 1.0)
    away: int | None = None
    start = checked = 0
    for index, value in enumerate(scaled.tolist()):
        detector.update(value)
        if not detector.drift_detected:
            continue
        start = checked + change_point(scaled[checked : index + 1])
        checked = index + 1
        here = abs(float(scaled[start:checked].mean())) >= threshold
        away = (start if away is None else away) if here else None
    regime = _regime(scaled, start)
    return (away if abs(regime.mean) >= threshold else None), regime


def _regime(scaled: Floats, start: int) -> Regime:
    values = scaled[start:]
    spread = float(values.std(ddof=1)) if len(values) > 1 else 1.0
    return Regime(start, float(values.mean()), spread / len(values) ** 0.5)


def _verdict(
    subject: str,
    name: str,
    times: Sequence[datetime],
    usual: tuple[float, float],
    threshold: float,
    found: tuple[int | None, Regime],
) -> Signal:
    away, regime = found
    centre, scale = usual[0], usual[1] or 1.0
    current = centre + regime.mean * scale
    reach = 1.96 * regime.error * scale
    status = Status.OK if away is None else Status.ALARM
    summary = f"{subject}: steady at {short(current)}."
    if away is not None:
        summary = (
            f"{subject}: {'higher' if regime.mean > 0 else 'lower'} since "
            f"{times[away]:%Y-%m-%d %H:%M}, {short(current)} instead of {short(centre)}."
        )
    return _signal(
        subject,
        name,
        status,
        summary,
        effect=abs(regime.mean),
        threshold=threshold,
        reference=centre,
        current=current,
        low=current - reach,
        high=current + reach,
        since=None if away is None else times[away],
    )


def _signal(subject: str, name: str, status: Status, summary: str, **more: Any) -> Signal:
    return Signal(
        kind="sequential",
        subject=f"{subject} by {name}",
        status=status,
        summary=summary,
        statistic=name,
        **more,
    )
