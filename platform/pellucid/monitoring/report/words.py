"""Numbers and times as people read them."""

import math
from datetime import datetime

from markupsafe import Markup, escape

from pellucid.analysis.watching.signals import Signal, Status

STATUSES = {
    Status.ALARM: "Alarm",
    Status.OK: "No change",
    Status.UNCLEAR: "Cannot tell yet",
    Status.ABSENT: "Not judged",
}
STATISTICS = {
    "ks": "largest gap between cumulative shares (KS)",
    "total_variation": "share of rows that moved (total variation)",
    "share": "share of rows",
}


def number(value: float | None) -> str:
    """Four digits that matter, thousands apart; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10_000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: float | None) -> str:
    """A share as per cent."""
    if value is None or not math.isfinite(value):
        return "–"
    percent = 100 * value
    if 0 < percent < 0.05:
        return "<0.1%"
    return f"{percent:.0f}%" if percent >= 99.95 or percent == 0 else f"{percent:.1f}%"


def when(moment: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return "" if moment is None else f"{moment:%d %b %Y, %H:%M} UTC"


def probability(value: float | None) -> str:
    """A p value."""
    if value is None:
        return "–"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def limits(signal: Signal) -> str:
    """A signal's confidence limits."""
    if signal.low is None or signal.high is None:
        return ""
    return f"{number(signal.low)} to {number(signal.high)}"


def name(text: str) -> Markup:
    """A name that breaks behind its parts, not within one."""
    parts = text.replace("_", "_\0").replace(".", ".\0").split("\0")
    return Markup("<wbr>").join(escape(part) for part in parts)


def criterion(subject: str) -> str:
    """Which disparity between which groups, as people write it."""
    name, by, column = subject.partition(" by ")
    return f"{name.replace('_', ' ')}{by}{column}"


def statistic(name: str) -> str:
    """What a statistic is, for people."""
    return STATISTICS.get(name, name.replace("_", " "))
