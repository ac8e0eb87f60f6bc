"""The action `retrain` of an alert: the champion's plan again, on data that it has met since.

Recorded predictions and their labels become the next version of the data set that the champion was
trained on, and its plan is submitted as a job on that. What the job makes is registered as any
other version: the plan's gates say whether it becomes challenger or champion.

It happens once for an alert, and after a cool-down for a model, so that an alarm that training
cannot end does not train for ever.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pellucid.bundle import Manifest
from pellucid.datasets.store import DatasetStore
from pellucid.datasets.targets import check_target
from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertRow
from pellucid.errors import Conflict, PellucidError, Unavailable
from pellucid.jobs.queue import JobQueue
from pellucid.monitoring.alerts.episodes import record, rule_of
from pellucid.monitoring.alerts.fresh_data import append, require_recorded, write_fresh
from pellucid.monitoring.alerts.rules import Retrain
from pellucid.monitoring.feedback.labels import DIRECTORY
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch.references import References
from pellucid.plan import Plan, resolve
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import Job, JobStatus
from pellucid.settings import Settings
from pellucid.tracking import traffic
from pellucid.tracking.contract import CHALLENGER, CHAMPION, Registry

_log = logging.getLogger(__name__)
_AGAIN = timedelta(hours=1)  # between two looks at whether labels enough have come
_OPEN = ("", "waiting", "cooling")


@dataclass(frozen=True)
class Outcome:
    """What came of an alert's wish to retrain: `waiting`, `cooling`, `refused` or `submitted`."""

    state: str
    reason: str
    job: Job | None = None
    dataset: Dataset | None = None


class Retraining:
    """Submits retrainings, and looks after what they make.

    Args:
        settings: home, and limits of data sets and jobs.
        database: with alerts, data sets and jobs.
        registry: has the champions.
    """

    def __init__(self, settings: Settings, database: Database, registry: Registry) -> None:
        home = settings.home
        self._database, self._registry = database, registry
        self._datasets = DatasetStore(home, database, max_cell_bytes=settings.max_cell_bytes)
        self._queue = JobQueue(database, max_attempts=settings.max_attempts)
        self._references = References(home / "monitoring" / "references", registry)
        self._log = PredictionLog(home / "predictions")
        self._labels = home / DIRECTORY
        self._scratch = home / "tmp"

    def step(self, now: datetime) -> list[str]:
        """Submit what is due, and give challengers their share; called after each pass.

        Returns:
            The jobs that were submitted.

        Raises:
            DatabaseUnavailable: call again; nothing is submitted twice.
        """
        submitted = []
        for row in self._alerts(_OPEN, firing=True):
            rule = rule_of(row)
            rests = row.acted_at is not None and now - row.acted_at < _AGAIN
            if rule.action == "retrain" and not row.silenced and not rests:
                outcome = self._attempt(row, partial(self._retrain, row, rule.retrain, now), now)
                submitted += [outcome.job.id] if outcome and outcome.job else []
        for row in self._alerts(("submitted",)):
            self._attempt(row, partial(self._follow, row, now), now)
        return submitted

    def _attempt(
        self, row: AlertRow, work: Callable[[], Outcome | None], now: datetime
    ) -> Outcome | None:
        """What comes of it, kept; None where it is to be tried again at the next step."""
        try:
            outcome = work()
        except Unavailable as error:
            _log.warning("The retraining for the alert %s waits: %s", row.id, error)
            return None
        except PellucidError as error:
            outcome = Outcome("refused", str(error))
        except Exception as error:  # a damaged file, a full disk: other alerts have a turn
            _log.exception("The retraining for the alert %s went wrong.", row.id)
            if row.action == "submitted":
                return None
            why = f"{type(error).__name__}: {error!s:.300}"
            outcome = Outcome("waiting", f"It went wrong and is tried again. {why}")
        if outcome is not None:
            self._note(row.id, outcome, now)
        return outcome

    def _retrain(self, row: AlertRow, wanted: Retrain, now: datetime) -> Outcome:
        if earlier := self._earlier(row, now - timedelta(seconds=wanted.cooldown_seconds)):
            return Outcome("cooling", f"The job {earlier} retrained the model shortly before.")
        model = self._registry.model(row.model)
        champion = model.aliases.get(CHAMPION)
        if champion != row.version:
            raise Conflict(f"Version {row.version} is not the champion, but {champion}.")
        manifest = self._references.of(model, row.version).manifest
        if manifest is None or not manifest.plan:
            raise Conflict("The model was made elsewhere: there is no plan to train again.")
        dataset = self._datasets.get(manifest.data_version)
        window = Window(row.model, champion, now - timedelta(seconds=wanted.window_seconds), now)
        fresh, rows = self._register(manifest, dataset, window, wanted)
        if fresh is None:
            return Outcome(
                "waiting",
                f"{rows:,} labelled predictions of the {wanted.min_rows:,} that are asked for.",
            )
        job = self._submit(row, manifest, fresh)
        told = "behind those of" if wanted.append else "in place of those of"
        reason = f"{rows:,} labelled predictions {told} {dataset.name}@{dataset.version}."
        return Outcome("submitted", reason, job, fresh)

    def _register(
        self, manifest: Manifest, dataset: Dataset, window: Window, wanted: Retrain
    ) -> tuple[Dataset | None, int]:
        """The next version of the data set, unless too few rows are labelled; and how many are."""
        plan, schema = _plan_of(manifest), dataset.data_schema
        if plan.data.windows is not None:
            raise Conflict("Steps of a long table are recorded as windows: rows cannot be made.")
        require_recorded(manifest, schema, manifest.target)
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="retrain-") as scratch:
            path, whole = Path(scratch, "fresh.parquet"), Path(scratch, "whole.parquet")
            fresh = write_fresh(self._log, self._labels, window, schema, manifest.target, path)
            if fresh.rows < wanted.min_rows:
                return None, fresh.rows
            original = self._datasets.path(dataset.sha256) if wanted.append else None
            append(original, fresh, schema, whole)
            span = f"{window.start:%Y-%m-%dT%H:%M}--{window.end:%Y-%m-%dT%H:%M}"
            made, _ = self._datasets.add(
                whole,
                name=dataset.name,
                filename=f"predictions-of-{window.model}-{window.version}-{span}.parquet",
                roles={column.name: column.role for column in schema.columns},
                constraints={
                    column.name: column.constraint
                    for column in schema.columns
                    if column.constraint is not None
                },
                parent=dataset.sha256,
            )
        return made, fresh.rows

    def _submit(self, row: AlertRow, manifest: Manifest, dataset: Dataset) -> Job:
        """The champion's plan as a job, once for an alert, whatever happens in between."""
        plan = _plan_of(manifest)
        data = plan.data.model_copy(update={"dataset": f"{dataset.name}@{dataset.version}"})
        plan = plan.model_copy(update={"data": data, "name": row.model, "search": None})
        resolved, _ = resolve(plan, dataset.data_schema)
        target = self._datasets.column(dataset.sha256, str(resolved.target))
        check_target(target, resolved.task, name=str(resolved.target))
        job, _ = self._queue.submit(
            resolved.model_dump(mode="json"),
            name=row.model,
            data_version=dataset.sha256,
            idempotency_key=f"pellucid-retrain-{row.id}",
            fingerprint=row.id,
        )
        return job

    def _follow(self, row: AlertRow, now: datetime) -> None:
        """Tell what became of a job, and give its version the share that the rule grants."""
        job = self._queue.get(str(row.job_id))
        if not job.status.final:
            return
        alias, share = job.result.get("alias"), 0.0
        if job.status is JobStatus.SUCCEEDED and alias == CHALLENGER and job.model_version:
            share = self._grant(row.model, job.model_version, rule_of(row).retrain.share)
        data = {"job": job.id, "status": job.status.value, "version": job.model_version}
        told: dict[str, Any] = data | {"alias": alias, "share": share, "reason": job.reason}
        with self._database.transaction() as session:
            held = session.get_one(AlertRow, row.id, with_for_update=True)
            held.action = "done"
            record(session, held, "retrained", now, **told)

    def _grant(self, name: str, version: int, share: float) -> float:
        """Let the version answer a share of the requests, if it still is the challenger."""
        model = self._registry.model(name)
        if not share or model.aliases.get(CHALLENGER) != version:
            return 0.0
        contender = traffic.Contender(version=version, share=share)
        rules = traffic.rules_of(model).model_copy(update={"challenger": contender})
        traffic.set_rules(self._registry, name, rules)
        return share

    def _note(self, alert_id: str, outcome: Outcome, now: datetime) -> None:
        """Keep what came of it; the same once more is no news."""
        with self._database.transaction() as session:
            row = session.get_one(AlertRow, alert_id, with_for_update=True)
            news = row.action != outcome.state
            row.action, row.acted_at = outcome.state, now
            data: dict[str, Any] = {"state": outcome.state, "reason": outcome.reason}
            if outcome.job is not None and outcome.dataset is not None:
                row.job_id = outcome.job.id
                data |= {"job": outcome.job.id, "dataset": outcome.job.plan["data"]["dataset"]}
            if news:
                record(session, row, "retrain", now, **data)

    def _alerts(self, actions: tuple[str, ...], *, firing: bool = False) -> list[AlertRow]:
        query = select(AlertRow).where(AlertRow.action.in_(actions)).order_by(AlertRow.id)
        if firing:
            query = query.where(AlertRow.state == "firing")
        with self._database.reading() as session:
            return list(session.scalars(query))

    def _earlier(self, row: AlertRow, since: datetime) -> str | None:
        """The model's newest retraining of the cool-down, or one that still goes on."""
        query = (
            select(AlertRow.job_id)
            .where(AlertRow.model == row.model, AlertRow.job_id.is_not(None))
            .where((AlertRow.acted_at > since) | (AlertRow.action == "submitted"))
            .order_by(AlertRow.acted_at.desc())
            .limit(1)
        )
        with self._database.reading() as session:
            return session.scalars(query).first()


def _plan_of(manifest: Manifest) -> Plan:
    """The plan that the version was trained by, with every default filled in."""
    return Plan.parse(manifest.plan)
