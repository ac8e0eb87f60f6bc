"""Parts of the report that come as plain figures: labels and their delay, impact ratios."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pellucid.analysis.watching.signals import Signal
from pellucid.monitoring.report.charts import Interval
from pellucid.monitoring.report.words import criterion, number, share

_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_METHODS = {
    "cbpe": "confidence-based performance estimation (CBPE), weighted to this window's rows",
    "dle": "direct loss estimation (DLE)",
}
_STATUS = {"alarm": "below four fifths", "ok": "no", "unclear": "cannot tell", "absent": ""}


class Table(NamedTuple):
    """Text in rows and columns; the first column names the row."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


class Compared(NamedTuple):
    """A metric, measured and estimated, as far as it was."""

    metric: str
    measured: Signal | None
    estimated: Signal | None

    @property
    def told(self) -> list[Signal]:
        """What there is of it."""
        return [each for each in (self.measured, self.estimated) if each]

    @property
    def reference(self) -> float | None:
        """What it was in training."""
        return next((each.reference for each in self.told), None)


def compared(signals: Sequence[Signal]) -> list[Compared]:
    """Measured and estimated performance, metric by metric."""
    found = {(each.kind, each.subject): each for each in signals if each.current is not None}
    metrics = dict.fromkeys(subject for _, subject in found if subject != "labels")
    return [
        Compared(each, found.get(("performance", each)), found.get(("estimate", each)))
        for each in metrics
    ]


def accepted(signal: Signal) -> str:
    """What a disparity may be: of a ratio 1 is equality, of a difference 0."""
    if signal.threshold is None:
        return ""
    if signal.statistic == "ratio":
        return f"at least {number(1 - signal.threshold)}"
    return f"at most {number(signal.threshold)}"


def apart(signal: Signal) -> list[Interval]:
    """How far groups are apart, 0 is equality: a difference, or what a ratio lacks to 1."""
    if signal.current is None or signal.low is None or signal.high is None:
        return []
    value, low, high = signal.current, signal.low, signal.high
    if signal.statistic == "ratio":
        value, low, high = 1 - value, 1 - high, 1 - low
    return [Interval(criterion(signal.subject), value, low, high, signal.threshold, signal.status)]


def performance_facts(figures: Mapping[str, Any] | None) -> list[str]:
    """What is to be known about labels and estimates."""
    if not figures or not figures.get("predictions"):
        return []
    found = [
        f"Labels: {figures['labelled']:,} of {figures['predictions']:,} predictions "
        f"({share(figures['labelled'] / figures['predictions'])}) have one by now."
    ]
    if figures.get("delay_median") is not None:
        found.append(
            f"Half of them came within {_duration(figures['delay_median'])}, "
            f"90% within {_duration(figures['delay_p90'])}."
        )
    if figures.get("unusable"):
        found.append(f"{figures['unusable']:,} labels could not be compared with their prediction.")
    if figures.get("method"):
        said = _METHODS.get(figures["method"], figures["method"])
        rows = f"Estimated on {figures['estimated_on']:,} rows by {said}"
        weight = figures.get("effective_rows")
        like = f"; the held-out rows, so weighted, count as {weight:,.0f}." if weight else "."
        near = figures.get("overlap")
        known = f" {share(near)} of the window's rows are like held-out rows." if near else ""
        found.append(rows + like + known)
    return found


def impact_tables(figures: Mapping[str, Any] | None) -> list[Table]:
    """Impact ratios by column, in the form of New York City's Local Law 144."""
    records = (figures or {}).get("impact") or []
    by_column = groupby(records, key=lambda each: (each["column"], each["outcome"]))
    return [_impact(column, outcome, list(each)) for (column, outcome), each in by_column]


def _impact(column: str, outcome: str, records: list[dict[str, Any]]) -> Table:
    unknown, highest = records[0]["unknown"], records[0]["highest"]
    rows = [
        [
            str(each["category"]),
            f"{each['rows']:,}",
            f"{each['selected']:,}",
            f"{share(each['rate'])} ({share(each['rate_low'])} to {share(each['rate_high'])})",
            _ratio(each, highest),
            _STATUS.get(each["status"], each["status"]),
        ]
        for each in records
    ]
    notes = ["Impact ratio: a group's selection rate over the highest one. 0.8 is the four-fifths "
             "rule of the US guidelines, a convention and no proof either way."]  # fmt: skip
    if unknown:
        who, are = ("1 row", "is") if unknown == 1 else (f"{unknown:,} rows", "are")
        notes.append(f"{who} whose {column} is not known {are} in no line.")
    return Table(
        f"Impact ratios by {column}: how often each group gets {outcome}.",
        ["Group", "Rows", "Selected", "Selection rate", "Impact ratio", "Below four fifths"],
        rows,
        notes,
    )


def _ratio(record: Mapping[str, Any], highest: str) -> str:
    if record["category"] == highest:
        return "1 (highest)"
    if record["impact"] is None:
        return "–"
    limits = f"{number(record['impact_low'])} to {number(record['impact_high'])}"
    return f"{number(record['impact'])} ({limits})"


def _duration(seconds: float) -> str:
    for size, name in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= size:
            return f"{number(round(seconds / size, 1))} {name}"
    return "a second" if seconds <= 1 else f"{number(round(seconds, 1))} seconds"
