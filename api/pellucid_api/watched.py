"""What the monitor found, as metrics: of each version's newest window, by kinds of signals.

Labels are models, versions, kinds, statuses and metrics of performance; never columns, of which a
model may have thousands.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import func, select

from pellucid.analysis.watching.signals import Signal, SignalKind, Status
from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertRow
from pellucid.monitoring.watch.passes import LastPass, Passes
from pellucid.monitoring.watch.resources import WindowResult
from pellucid.monitoring.watch.results import Results

_VERSION = ["model", "version"]
_METRICS = 20  # of a version's performance
_RECENT = timedelta(days=2)  # a version without a window for longer is no longer served
_SOURCES: dict[SignalKind, str] = {"performance": "measured", "estimate": "estimated"}


@dataclass(frozen=True)
class Watched:
    """What the database holds now.

    Attributes:
        results: the newest one of each version.
        firing: alerts by model and severity.
    """

    last: LastPass | None
    results: Sequence[WindowResult]
    firing: Mapping[tuple[str, str], int]


def look(database: Database) -> Watched:
    """Ask the database. Raises `DatabaseUnavailable`."""
    found, oldest = Results(database).newest(), now() - _RECENT
    recent = [each for each in found if each.end + (each.end - each.start) > oldest]
    query = (
        select(AlertRow.model, AlertRow.severity, func.count())
        .where(AlertRow.state == "firing")
        .group_by(AlertRow.model, AlertRow.severity)
    )
    with database.reading() as session:
        firing = {(model, severity): count for model, severity, count in session.execute(query)}
    return Watched(Passes(database).last(), recent, firing)


def families(watched: Watched) -> Iterator[Metric]:
    """The metrics."""
    yield from _monitor(watched.last)
    yield from _windows(watched.results)
    yield _signals(watched.results)
    yield _effects(watched.results)
    yield from _performance(watched.results)
    firing = GaugeMetricFamily(
        "pellucid_alerts_firing", "Alerts that fire now.", labels=["model", "severity"]
    )
    for (model, severity), count in sorted(watched.firing.items()):
        firing.add_metric([model, severity], count)
    yield firing


def _monitor(last: LastPass | None) -> Iterator[Metric]:
    if last is None:
        return
    yield GaugeMetricFamily(
        "pellucid_monitor_last_pass_timestamp_seconds",
        "When the monitor's last pass ended; passes are a minute apart at most, and as long as "
        "their windows take.",
        last.at.timestamp(),
    )
    yield GaugeMetricFamily(
        "pellucid_monitor_last_pass_duration_seconds", "How long it took.", last.seconds
    )
    yield GaugeMetricFamily(
        "pellucid_monitor_windows_behind",
        "Windows that are due and could not be judged yet.",
        last.behind,
    )
    yield GaugeMetricFamily(
        "pellucid_monitor_failed_models",
        "Models that went wrong in the last pass.",
        len(last.failed),
    )


def _windows(results: Sequence[WindowResult]) -> Iterator[Metric]:
    rows = GaugeMetricFamily(
        "pellucid_monitoring_window_rows", "Rows of the newest window.", labels=_VERSION
    )
    ends = GaugeMetricFamily(
        "pellucid_monitoring_window_end_timestamp_seconds",
        "End of the newest window that was judged.",
        labels=_VERSION,
    )
    for each in results:
        rows.add_metric(_of(each), each.rows)
        ends.add_metric(_of(each), each.end.timestamp())
    yield from (rows, ends)


def _signals(results: Sequence[WindowResult]) -> Metric:
    family = GaugeMetricFamily(
        "pellucid_monitoring_signals",
        "Findings about the newest window, by kind and status: alarm, ok, unclear (too few rows), "
        "absent (not judged).",
        labels=[*_VERSION, "kind", "status"],
    )
    for each in results:
        found = Counter((signal.kind, signal.status) for signal in each.signals)
        for kind in sorted({signal.kind for signal in each.signals}):
            for status in Status:
                family.add_metric([*_of(each), kind, status.value], found[kind, status])
    return family


def _effects(results: Sequence[WindowResult]) -> Metric:
    family = GaugeMetricFamily(
        "pellucid_monitoring_effect_ratio",
        "Largest difference in the newest window over the smallest that matters, by kind: from 1 "
        "on it matters, and alarms if it is certain.",
        labels=[*_VERSION, "kind"],
    )
    for each in results:
        for kind in get_args(SignalKind):
            sizes = [size for s in each.signals if s.kind == kind and (size := _size(s))]
            if sizes:
                family.add_metric([*_of(each), kind], max(sizes))
    return family


def _performance(results: Sequence[WindowResult]) -> Iterator[Metric]:
    labels = [*_VERSION, "metric", "source"]
    now_ = GaugeMetricFamily(
        "pellucid_monitoring_performance",
        "In the newest window: measured from labels, or estimated before them. An estimate does "
        "not see that the world answers the same inputs differently.",
        labels=labels,
    )
    before = GaugeMetricFamily(
        "pellucid_monitoring_performance_reference",
        "The same on rows that were held out in training.",
        labels=labels,
    )
    for each in results:
        for signal in _metrics(each):
            named = [*_of(each), signal.subject, _SOURCES[signal.kind]]
            if signal.current is not None:
                now_.add_metric(named, signal.current)
            if signal.reference is not None:
                before.add_metric(named, signal.reference)
    yield from (now_, before)


def _metrics(result: WindowResult) -> list[Signal]:
    """One for each subject and source."""
    found = {(s.kind, s.subject): s for s in result.signals if s.kind in _SOURCES}
    return list(found.values())[:_METRICS]


def _size(signal: Signal) -> float | None:
    if signal.effect is None or not signal.threshold:
        return None
    return signal.effect / signal.threshold


def _of(result: WindowResult) -> list[str]:
    return [result.model, str(result.version)]
