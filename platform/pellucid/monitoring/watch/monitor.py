"""The monitor: judges every window of live traffic once, and tells whoever must know.

It reads the prediction log and writes results, alerts and reports; what answers requests knows
nothing of it. Windows that it missed while it was down are judged afterwards. One model that goes
wrong never stops the others.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from pellucid.db.base import now as clock
from pellucid.db.session import Database
from pellucid.errors import Conflict, DatabaseUnavailable, InvalidInput, TrackerUnavailable
from pellucid.monitoring import layout
from pellucid.monitoring.feedback.labels import DIRECTORY as LABELS
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch import planning, presence, schedule
from pellucid.monitoring.watch.alerting import Alerting
from pellucid.monitoring.watch.inspector import Inspector
from pellucid.monitoring.watch.lock import held
from pellucid.monitoring.watch.passes import Passes
from pellucid.monitoring.watch.planning import Planned
from pellucid.monitoring.watch.resources import WindowResult
from pellucid.settings import Settings
from pellucid.tracking.contract import RegisteredModel, Registry, Tracker

_TICK_SECONDS = 10.0  # between two looks at whether another monitor still works,
_LOOK_SECONDS = 60.0  # and at what is due, or could not be judged before
_ONE_CLOCK = timedelta(minutes=5)  # clocks of two machines may differ by so much
_REVISITED = 48  # windows of a version that labels may change, in one pass
_LABEL_DAYS = 90  # labels of older windows change no result
_SWEEP_SECONDS = 3600.0
_BEAT_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass
class Pass:
    """What a pass has done.

    Attributes:
        behind: windows that are due and were not judged.
        failed: models that went wrong, and why.
    """

    results: list[WindowResult] = field(default_factory=list)
    behind: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Monitor:
    """Watches all models that are served.

    Args:
        settings: windows, home and retention.
        database: gets results and alerts.
        tracker: its runs get the reports.
        registry: has the models.
        inspector: judges windows; by default one that asks everything.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tracker: Tracker,
        registry: Registry,
        *,
        inspector: Inspector | None = None,
    ) -> None:
        self._settings, self._registry = settings, registry
        self._inspector = inspector or Inspector(settings, database, tracker, registry)
        self._alerting = Alerting(settings, database, registry)
        self._known: dict[str, RegisteredModel] = {}
        self._stopping = threading.Event()
        self._done: dict[str, datetime] = {}  # model -> up to which boundary nothing is due
        self._revisited: dict[str, datetime] = {}  # model -> the window's end at which it was
        self._swept_at, self._beaten_at = -_SWEEP_SECONDS, monotonic()
        self._passes = Passes(database)

    def run(self) -> None:
        """Watch until `stop`. While another monitor works, wait."""
        waiting = False
        while not self._stopping.is_set():
            with held(self._lock) as ours:
                if ours:
                    self._work()
                elif not waiting:
                    logger.info("Another monitor works; this one waits to take over.")
                    waiting = True
            self._stopping.wait(_TICK_SECONDS)

    def stop(self) -> None:
        """Have `run` return when the window under way is judged."""
        self._stopping.set()

    def once(
        self,
        model: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        telling: bool = True,
    ) -> Pass:
        """One pass now: of what is due, or of one window that somebody asks for.

        Args:
            model: one; by default all.
            start: of the window, in whole seconds, as its id has it; None: what is due.
            end: by default now.
            telling: deliver alerts, and submit the retrainings that they ask for.

        Raises:
            Conflict: another monitor is at work.
            DatabaseUnavailable, TrackerUnavailable: it does not answer.
            NotFound: there is no such model.
            InvalidInput: the window is shorter than a second.
        """
        with held(self._lock) as ours:
            if not ours and start is None:
                raise Conflict(
                    "Another monitor is at work, and judges what is due.",
                    remedy="Look: pellucid monitoring show MODEL. Or name a window: --from, --to.",
                )
            if start is None:
                done = self._pass(clock(), model)
            else:
                done = self._asked(model, start, end or clock())
        if telling:
            self._alerting.retrain()
            self._alerting.step()
        return done

    def report(self, result: WindowResult) -> Path:
        """Where a window's report lies."""
        return self._inspector.reports.path(result)

    @property
    def _lock(self) -> Path:
        return self._settings.home / "monitoring" / "lock"

    def _work(self) -> None:
        """Until told to stop: what is due now, again at every boundary, and a look in between."""
        alerts = threading.Thread(target=self._alerting.run, args=(self._stopping,), name="alerts")
        alerts.start()
        logger.info("The monitor works: windows of %d s.", self._settings.monitor_seconds)
        while not self._stopping.is_set():
            pause = min(_LOOK_SECONDS, self._until_due())
            try:
                done = self._pass(clock())
                self._alerting.retrain()
                self._sweep()
                for result in done.results:
                    logger.info("%s %s: %s", result.model, result.id, result.verdict)
            except (DatabaseUnavailable, TrackerUnavailable) as error:
                logger.warning("The monitor waits: %s", error)
                pause = _TICK_SECONDS
            except Exception:  # it must not stay away at night for one surprise
                logger.exception("a pass of the monitor failed")
            self._stopping.wait(pause)
        alerts.join()

    def _pass(self, now: datetime, only: str = "") -> Pass:
        started, done = monotonic(), Pass()
        for model in self._models(only):
            if self._stopping.is_set():
                break
            with _noted(done, model):
                self._watch(model, now, done)
        self._inspector.reports.log()
        self._passes.note(
            seconds=monotonic() - started,
            judged=len(done.results),
            behind=done.behind,
            failed=done.failed,
        )
        return done

    def _watch(self, model: RegisteredModel, now: datetime, done: Pass) -> None:
        boundary = planning.boundary(self._settings, now)
        if self._done.get(model.name) == boundary:
            return
        behind = 0
        ahead: dict[int, int] | None = None
        for planned in planning.plan(model, self._inspector.results, self._settings, now):
            if planned.skipped:
                logger.warning(
                    "%s version %d: %d windows are too long ago to be judged afterwards",
                    model.name, planned.version, planned.skipped,
                )  # fmt: skip
            if planned.spans and ahead is None:
                ahead = presence.ahead(self._predictions, model.name, now + _ONE_CLOCK)
            left = len(planned.spans)
            with _noted(done, model):  # the model's other versions have their turn
                left = self._judge(model, planned, (ahead or {}).get(planned.version, 0), done)
            behind += left
        ended = schedule.floor(boundary, self._settings.monitor_seconds)
        if self._revisited.get(model.name) != ended:
            self._revisit(model, now, done)
            self._revisited[model.name] = ended
        done.behind += behind
        if not behind:
            self._done[model.name] = boundary

    def _judge(self, model: RegisteredModel, planned: Planned, ahead: int, done: Pass) -> int:
        """Judge a version's windows in their order; how many are left for later."""
        started = planned.known
        for place, span in enumerate(planned.spans):
            if self._stopping.is_set():
                return len(planned.spans) - place
            last = place == len(planned.spans) - 1
            window, empty = Window(model.name, planned.version, *span), planned.champion and started
            result = self._inspector.inspect(model, window, ahead=ahead if last else 0, empty=empty)
            started = started or result.rows > 0
            self._beat()
            if result.rows or empty or not result.complete:
                done.results.append(result)
            if not result.complete:
                return len(planned.spans) - place
        return 0

    def _beat(self) -> None:
        if monotonic() - self._beaten_at > _BEAT_SECONDS:
            self._beaten_at = monotonic()
            self._passes.beat()

    def _revisit(self, model: RegisteredModel, now: datetime, done: Pass) -> None:
        """Judge windows again whose labels arrived since."""
        results = self._inspector.results
        labels = self._settings.home / LABELS / layout.directory_of(model.name)
        windows = results.windows(model.name, now - timedelta(days=_LABEL_DAYS))
        for window in planning.labelled(labels, windows, _REVISITED):
            with _noted(done, model):
                earlier = results.same(window)
                if earlier is not None:
                    done.results.append(self._inspector.refresh(model, earlier))

    def _asked(self, only: str, start: datetime, end: datetime) -> Pass:
        """One window of every version that has rows in it, from and to whole seconds."""
        start, end = start.replace(microsecond=0), end.replace(microsecond=0)
        if end <= start:
            raise InvalidInput(
                f"The window from {start.isoformat()} ends at {end.isoformat()}. "
                "It takes whole seconds, one at least.",
                where={"parameter": "to"},
            )
        done = Pass()
        for model in self._models(only):
            ahead = presence.ahead(self._predictions, model.name, clock() + _ONE_CLOCK)
            found = presence.versions(self._predictions, model.name, start, end)
            for version in found:
                window = Window(model.name, version, start, end)
                result = self._inspector.inspect(
                    model, window, ahead=ahead.get(version, 0), scheduled=False, empty=False
                )
                if result.rows:
                    done.results.append(result)
        self._inspector.reports.log()
        return done

    def _models(self, only: str) -> list[RegisteredModel]:
        """The registered models with predictions; as they were, while the registry is down."""
        try:
            if only:
                return [self._registry.model(only)]
            self._known = {each.name: each for each in self._registry.models()}
        except TrackerUnavailable:
            if not self._known:
                raise
            logger.warning("The registry does not answer: aliases are as they were.")
        return [self._known[name] for name in presence.models(self._predictions, self._known)]

    def _sweep(self) -> None:
        """Remove what is older than results are kept."""
        days = self._settings.monitoring_days
        if days and monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = monotonic()
            self._inspector.sweep(days)

    def _until_due(self) -> float:
        now = clock()
        waited = self._settings.monitor_seconds + self._settings.monitor_lateness_seconds
        past = now - planning.boundary(self._settings, now)
        return max(1.0, waited - past.total_seconds())

    @property
    def _predictions(self) -> Path:
        return self._settings.home / "predictions"


@contextmanager
def _noted(done: Pass, model: RegisteredModel) -> Iterator[None]:
    """What goes wrong is told, and stops nothing but itself; without the database all waits."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        done.failed[model.name] = f"{type(error).__name__}: {error!s:.300}"
        logger.exception("the model %s is not wholly watched in this pass", model.name)
