"""Small charts as inline SVG: no script, no file beside the page, colours from its style sheet.

Every chart has a `viewBox` of the same width, so that its text is as large on a phone as it is on a
screen, and says in words what it shows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from pellucid.analysis.watching.signals import Status
from pellucid.monitoring.report.words import number, share
from pellucid.monitoring.watch.resources import Distribution, WindowSummary

_WIDTH = 340
_PLOT = 132  # height of a density
_ROW = 26  # height of a category
_PAIR = 40  # height of an interval below its label
_LABEL = 118  # width of labels beside bars
_LONGEST = 15  # characters of such a label,
_WIDE = 46  # and of one above an interval
_MARKS = {Status.ALARM: "!", Status.OK: "", Status.UNCLEAR: "?", Status.ABSENT: "–"}


class Interval(NamedTuple):
    """A figure with its confidence limits, and what it is compared to."""

    label: str
    value: float
    low: float | None
    high: float | None
    reference: float | None
    status: Status


def overlay(column: str, found: Distribution) -> Markup:
    """The window's distribution over that of the reference."""
    made = _density(found) if found.kind == "number" else _bars(found)
    return _svg(made[0], made[1], f"Distribution of {column}: {_told(found)}")


def intervals(title: str, found: Sequence[Interval]) -> Markup:
    """Figures one below the other, on one axis, each with its limits and its reference."""
    numbers = [
        value
        for each in found
        for value in (each.value, each.low, each.high, each.reference)
        if value is not None
    ]
    low, high = min(numbers), max(numbers)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    start = low - margin if low < 0 else max(low - margin, 0.0)
    axis = _Axis(start, high + margin, 8, _WIDTH - 8)
    parts: list[str] = []
    for row, each in enumerate(found):
        y = row * _PAIR + 26
        label = _shortened(each.label, _WIDE)
        parts.append(_text(8, y - 12, label, "start", full=each.label))
        if each.low is not None and each.high is not None:
            parts.append(_line(axis(each.low), y, axis(each.high), y, f"whisker {each.status}"))
        if each.reference is not None:
            x = axis(each.reference)
            parts.append(_line(x, y - 9, x, y + 9, "mark"))
        parts.append(
            f'<circle class="{each.status}" cx="{axis(each.value):.1f}" cy="{y}" r="4.5"/>'
        )
    bottom = len(found) * _PAIR
    parts += _axis(axis, bottom)
    said = "; ".join(
        f"{each.label} {number(each.value)}"
        + (f" ({number(each.low)} to {number(each.high)})" if each.low is not None else "")
        for each in found
    )
    return _svg(parts, bottom + 20, f"{title}: {said}")


def strip(windows: Sequence[WindowSummary]) -> Markup:
    """One cell for each window, the oldest first."""
    step = min(28.0, _WIDTH / max(len(windows), 1))
    parts = []
    for place, each in enumerate(windows):
        x = place * step
        title = f"{each.start:%d %b %H:%M} UTC: {each.status}, {each.rows:,} rows"
        parts.append(
            f'<g><title>{escape(title)}</title><rect class="{each.status}" x="{x:.1f}" y="0" '
            f'width="{max(step - 2, 1):.1f}" height="26" rx="3"/>'
        )
        if step >= 12 and _MARKS[each.status]:
            mark = _MARKS[each.status]
            parts.append(_text(x + step / 2 - 1, 18, mark, "middle", style="on"))
        parts.append("</g>")
    raised = sum(each.status is Status.ALARM for each in windows)
    return _svg(parts, 26, f"The last {len(windows)} windows: {raised} of them alarm")


class _Axis:
    """From a value to where it is drawn."""

    def __init__(self, low: float, high: float, left: float, right: float) -> None:
        self.low, self.high, self.left, self.right = low, high, left, right

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.left + (value - self.low) / span * (self.right - self.left)


def _density(found: Distribution) -> tuple[list[str], float]:
    axis = _Axis(found.at[0], found.at[-1], 2, _WIDTH - 2)
    top = max([*found.reference, *found.window, 1e-12])

    def steps(values: Sequence[float]) -> list[tuple[float, float]]:
        points = []
        for (left, right), value in zip(pairwise(found.at), values, strict=True):
            y = _PLOT - value / top * (_PLOT - 6)
            points += [(axis(left), y), (axis(right), y)]
        return points

    reference, window = steps(found.reference), steps(found.window)
    closed = [(axis(found.at[0]), _PLOT), *reference, (axis(found.at[-1]), _PLOT)]
    parts = [
        f'<polygon class="reference" points="{_points(closed)}"/>',
        f'<polyline class="window" points="{_points(window)}"/>',
        *_axis(axis, _PLOT),
    ]
    return parts, _PLOT + 20


def _bars(found: Distribution) -> tuple[list[str], float]:
    top = max([*found.reference, *found.window, 1e-12])
    room = _WIDTH - _LABEL - 58
    parts = []
    rows = zip(found.labels, found.reference, found.window, strict=True)
    for row, (label, before, now) in enumerate(rows):
        y = row * _ROW
        parts.append(_text(_LABEL - 6, y + 17, _shortened(label), "end", full=label))
        for name, value, top_of in (("reference", before, y + 3), ("bar", now, y + 13)):
            width = max(value / top * room, 0.5)
            parts.append(
                f'<rect class="{name}" x="{_LABEL}" y="{top_of}" width="{width:.1f}" height="9"/>'
            )
        longest = max(before, now) / top * room
        parts.append(_text(_LABEL + longest + 5, y + 17, share(now), "start", style="soft"))
    return parts, len(found.labels) * _ROW + 2


def _axis(axis: _Axis, y: float) -> list[str]:
    low, high = axis.low, axis.high
    return [
        _line(axis.left, y + 0.5, axis.right, y + 0.5, "axis"),
        _text(axis.left, y + 15, number(low), "start", style="soft"),
        _text((axis.left + axis.right) / 2, y + 15, number((low + high) / 2), "middle", "soft"),
        _text(axis.right, y + 15, number(high), "end", style="soft"),
    ]


def _told(found: Distribution) -> str:
    """A distribution in words, for those who do not see it."""
    if found.kind == "number":
        centres = [(left + right) / 2 for left, right in pairwise(found.at)]
        before, now = (
            sum(c * v for c, v in zip(centres, values, strict=True)) / (sum(values) or 1.0)
            for values in (found.reference, found.window)
        )
        return f"centred at {number(before)} in the reference, at {number(now)} in this window."
    rows = list(zip(found.labels, found.reference, found.window, strict=True))
    most = sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:3]
    return "; ".join(f"{label} {share(was)}, now {share(now)}" for label, was, now in most) + "."


def _svg(parts: Sequence[str], height: float, said: str) -> Markup:
    content = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(said)}">'
        f"{content}</svg>"
    )


def _text(
    x: float, y: float, text: str, anchor: str, style: str = "label", *, full: str = ""
) -> str:
    title = f"<title>{escape(full)}</title>" if full and full != text else ""
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}{title}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _shortened(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
