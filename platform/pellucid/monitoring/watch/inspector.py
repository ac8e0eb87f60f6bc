"""One window of one version: judged, stored, told to the alerts, and written up."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pellucid.analysis.watching.drift import ongoing
from pellucid.analysis.watching.signals import Signal, SignalKind, Status
from pellucid.db.base import now as clock
from pellucid.db.session import Database
from pellucid.errors import DatabaseUnavailable, PellucidError
from pellucid.monitoring.alerts.engine import evaluate
from pellucid.monitoring.checks import traffic
from pellucid.monitoring.checks.judging import Case, Findings, Question, attempt, dated, judge
from pellucid.monitoring.checks.questions import QUESTIONS
from pellucid.monitoring.checks.verdicts import overall, verdict
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Hours, Window
from pellucid.monitoring.report import render
from pellucid.monitoring.watch.references import Reference, References
from pellucid.monitoring.watch.reports import Reports
from pellucid.monitoring.watch.resources import Figures, WindowResult
from pellucid.monitoring.watch.results import Results
from pellucid.settings import Settings
from pellucid.tracking.contract import RegisteredModel, Registry, Tracker

# What labels that arrive later change. As long as they cannot tell, alerts hear nothing of them: an
# older window, whose labels are there, may have more to say.
_LATE: tuple[SignalKind, ...] = ("performance", "estimate", "bias")
_LABELLED: tuple[SignalKind, ...] = ("performance", "bias")
_HISTORY = 48  # windows in a report's history
_DAYS = 400  # whose windows are a stream

logger = logging.getLogger(__name__)


class Inspector:
    """Judges windows.

    Args:
        settings: home, and what a window must have.
        database: gets results and alerts.
        tracker: its runs get the reports.
        registry: has the versions.
        questions: to ask of each window.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tracker: Tracker,
        registry: Registry,
        questions: Sequence[Question] = QUESTIONS,
    ) -> None:
        self._settings, self._database, self._questions = settings, database, questions
        root = settings.home / "monitoring"
        self.results = Results(database)
        self.reports = Reports(root / "reports", tracker)
        self._references = References(root / "references", registry)
        log = PredictionLog(settings.home / "predictions")
        lateness = timedelta(seconds=settings.monitor_lateness_seconds)
        self._log, self._hours = log, Hours(log, root / "profiles", lateness)

    def inspect(
        self,
        model: RegisteredModel,
        window: Window,
        *,
        ahead: int = 0,
        scheduled: bool = True,
        empty: bool = True,
    ) -> WindowResult:
        """Judge a window, whether or not it was judged before.

        Args:
            model: as registered.
            window: one of its versions'.
            ahead: rows of the version that carry times of the future.
            scheduled: whether it is one of the windows that follow each other. One that was
                judged as such stays it, with what is known of those before.
            empty: keep the result even if there are no rows.

        Raises:
            DatabaseUnavailable: nothing was stored.
        """
        at = clock()
        scheduled = scheduled or self.results.follows(
            window.model, window.version, window.start, window.end
        )
        case, found = self._opened(model, window, scheduled)
        found += Findings(traffic.signals(case, ahead))
        found += judge(case, self._questions)
        result = self._result(window, case, found, scheduled, at)
        if result.rows or empty or not result.complete:
            if result.complete:  # before it counts as judged: telling it again changes nothing
                self._alert(result, result.signals)
            self.results.save(result)
            self._write(result)
        return result

    def refresh(self, model: RegisteredModel, earlier: WindowResult) -> WindowResult:
        """Judge again what labels that arrived since then may have changed.

        Raises:
            DatabaseUnavailable: nothing was stored.
        """
        at = clock()
        window = Window(earlier.model, earlier.version, earlier.start, earlier.end)
        case, _ = self._opened(model, window, earlier.scheduled)
        found = judge(case, [each for each in self._questions if each.late])
        kept = Findings(
            [each for each in earlier.signals if each.kind not in _LATE],
            earlier.figures.model_dump(exclude={"performance", "bias"}),
        )
        kept += found
        result = self._result(window, case, kept, earlier.scheduled, at)
        self._alert(result, [each for each in result.signals if each.kind in _LABELLED])
        self.results.save(result)
        self._write(result)
        return result

    def sweep(self, days: int) -> None:
        """Remove what was found of windows that ended longer ago."""
        self.results.sweep(days)
        self.reports.sweep(days)
        self._hours.sweep(clock() - timedelta(days=days))

    def _opened(
        self, model: RegisteredModel, window: Window, scheduled: bool
    ) -> tuple[Case, Findings]:
        """The window's profile, and what went wrong over it."""
        before = self.results.before(
            window.model, window.version, window.start, scheduled=scheduled
        )
        since = before.figures.since if before else {}
        empty = Reference(None, None, None)
        days = [window.start - timedelta(days=day) for day in range(1, _DAYS)]
        past = self.results.means(window.model, window.version, days) if scheduled else []
        case = Case(self._settings, window, empty, None, 0, since, past)

        def reference() -> Findings:
            nonlocal case
            case = replace(case, reference=self._references.of(model, window.version))
            return Findings()

        def profile() -> Findings:
            nonlocal case
            known = case.reference.profile
            if known is None:
                case = replace(case, rows=traffic.rows(self._log, window))
            else:
                made = self._hours.profile(window, known)
                case = replace(case, profile=made, rows=made.rows)
            return Findings()

        found = attempt("the version's reference", reference)
        found += attempt("the window", profile)
        return case, found

    def _result(
        self, window: Window, case: Case, found: Findings, scheduled: bool, at: datetime
    ) -> WindowResult:
        """What is stored; labels that came since `at` are not in it yet."""
        signals = dated(found.signals, case.since, window.start)
        fields: dict[str, Any] = found.figures | {
            "since": ongoing(case.since, signals),
            "run_id": case.reference.run_id or None,
        }
        return WindowResult(
            model=window.model,
            version=window.version,
            start=window.start,
            end=window.end,
            rows=case.rows,
            status=overall(signals),
            alarms=sum(each.status is Status.ALARM for each in signals),
            judged_at=at,
            complete=found.complete,
            scheduled=scheduled,
            verdict=verdict(signals, case.rows),
            signals=signals,
            figures=Figures.model_validate(fields),
        )

    def _alert(self, result: WindowResult, signals: Sequence[Signal]) -> None:
        certain = (Status.ALARM, Status.OK)
        told = [s for s in signals if s.status in certain or s.kind not in _LABELLED]
        try:
            evaluate(self._database, result.model, result.version, result.end, told)
        except DatabaseUnavailable:
            raise
        except Exception:  # what was found is stored, and the other models have a turn
            logger.exception("the alerts of %s were not evaluated", result.id)

    def _write(self, result: WindowResult) -> Path | None:
        """The report; a full disk costs no more than the report."""
        try:
            page = self.results.page(
                result.model, version=result.version, until=result.end, limit=_HISTORY
            )
            url = run_url(self._settings, result)
            return self.reports.write(result, render(result, page.windows, run_url=url))
        except DatabaseUnavailable:
            raise
        except (OSError, PellucidError) as error:
            logger.error("the report of %s %s is not written: %s", result.model, result.id, error)
            return None


def run_url(settings: Settings, result: WindowResult) -> str:
    """Where the version's run is looked at; "" where it has none."""
    run = result.figures.run_id
    return f"{settings.resolved_mlflow_url}/#/runs/{run}" if run else ""
