"""From a window's result to its page. Everything that came from outside is escaped."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from pellucid.analysis.watching.signals import Signal, SignalKind, Status
from pellucid.monitoring.checks.verdicts import alarms, said, subject
from pellucid.monitoring.report import charts, words
from pellucid.monitoring.report.tables import (
    accepted,
    apart,
    compared,
    impact_tables,
    performance_facts,
)
from pellucid.monitoring.watch.resources import WindowResult, WindowSummary

_COLUMNS = 40  # in the table of drift
_UNTOLD = 8
_FINDINGS = 500
_CHARTED = 24  # intervals in one chart
_HISTORY = 48


def render(
    result: WindowResult, history: Sequence[WindowSummary] = (), *, run_url: str = ""
) -> str:
    """The report as HTML.

    Args:
        result: of the window.
        history: of the same version, any order; the windows up to this one are shown.
        run_url: where the version's MLflow run is looked at.
    """
    signals = result.signals
    drift = _ranked(_of(signals, "drift", "output"))
    untold = [each for each in signals if each.status is Status.ABSENT]
    performance = compared(_of(signals, "performance", "estimate"))
    bias = _ranked(_of(signals, "bias"))
    known = sorted((w for w in history if w.start <= result.start), key=lambda w: (w.start, w.end))
    return _template().render(
        result=result,
        alarms=alarms(signals),
        untold=untold[:_UNTOLD],
        more_untold=len(untold[_UNTOLD:]),
        history=known[-_HISTORY:],
        drift=drift[:_COLUMNS],
        more_drift=len(drift[_COLUMNS:]),
        captions={each.column: _caption(each.column, signals) for each in result.figures.columns},
        together=_of(signals, "multivariate", "sequential"),
        performance=performance,
        performance_chart=_chart("Performance", [s for each in performance for s in each.told]),
        performance_facts=performance_facts(result.figures.performance),
        bias=bias,
        bias_chart=_intervals("How far groups are apart", [a for s in bias for a in apart(s)]),
        impact_tables=impact_tables(result.figures.bias),
        most=_FINDINGS,
        run_url=run_url,
    )


@cache
def _template() -> Template:
    here = files(__package__)
    source = (here / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"page": source}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "style": Markup((here / "style.css").read_text(encoding="utf-8")),
        "statuses": words.STATUSES,
        "overlay": charts.overlay,
        "strip": charts.strip,
        **{
            each.__name__: each
            for each in (
                words.number, words.share, words.when, words.probability, words.limits,
                words.statistic, words.name, words.criterion, accepted, said, subject,
            )
        },
    }  # fmt: skip
    return environment.get_template("page")


def _of(signals: Sequence[Signal], *kinds: SignalKind) -> list[Signal]:
    return [each for each in signals if each.kind in kinds]


def _ranked(signals: Sequence[Signal]) -> list[Signal]:
    """What alarms first, then by size against what matters."""

    def key(each: Signal) -> tuple[bool, float]:
        size = (each.effect or 0.0) / (each.threshold or 1.0)
        return each.status is not Status.ALARM, -size

    return sorted(signals, key=key)


def _caption(column: str, signals: Sequence[Signal]) -> str:
    """What the signals about a column say."""
    found = [each for each in _ranked(signals) if each.subject == column]
    told = [
        said(each).removeprefix(f"{subject(column)}: ")
        for each in found
        if each.kind in ("drift", "output") or each.status is Status.ALARM
    ]
    return " ".join(f"{each[:1].upper()}{each[1:]}" for each in told)


def _chart(title: str, signals: Sequence[Signal]) -> Markup | None:
    shown = [
        charts.Interval(
            ("est. " if each.kind == "estimate" else "") + subject(each.subject),
            each.current, each.low, each.high, each.reference, each.status,
        )
        for each in signals
        if each.current is not None and each.low is not None
    ]  # fmt: skip
    return _intervals(title, shown)


def _intervals(title: str, shown: Sequence[charts.Interval]) -> Markup | None:
    # Shares have one axis; what has a unit of its own would flatten them.
    shown = [each for each in shown if 0 <= each.value <= 1] or shown
    return charts.intervals(title, shown[:_CHARTED]) if shown else None
