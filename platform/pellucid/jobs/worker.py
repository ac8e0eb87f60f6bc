"""The worker: claims jobs one after the other and sees each attempt through."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database
from pellucid.db.upgrade import require_newest
from pellucid.errors import DatabaseUnavailable
from pellucid.jobs.attempt import Attempt, Command, Tools
from pellucid.jobs.batch import (
    ExplanationAttempt,
    ScoringAttempt,
    explaining_command,
    scoring_command,
)
from pellucid.jobs.closing import RunCloser
from pellucid.jobs.launchers.contract import Launcher
from pellucid.jobs.launchers.local import LocalLauncher
from pellucid.jobs.launchers.training import TrainingCommand
from pellucid.jobs.publishing import Publisher
from pellucid.jobs.queue import Claim, JobQueue
from pellucid.jobs.retention import Retention
from pellucid.jobs.training import TrainingAttempt
from pellucid.jobs.workspace import Workspace
from pellucid.logs import configure_logging
from pellucid.resources.jobs import JobKind
from pellucid.settings import Settings
from pellucid.tracking.contract import Registry, Tracker
from pellucid.tracking.mlflow import connect

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_ATTEMPTS: dict[JobKind, type[Attempt]] = {
    "training": TrainingAttempt,
    "search": TrainingAttempt,  # of its winner
    "scoring": ScoringAttempt,
    "explanation": ExplanationAttempt,
}


class Worker:
    """Runs jobs, one at a time, until it is told to stop.

    Args:
        settings: home, lease and grace.
        queue: where the jobs are.
        datasets: where their data is.
        tracker: gets their runs.
        registry: gets their models.
        launcher: starts the processes of jobs.
        training: the command line of a training; by default as the settings say.
        scoring: that of a scoring.
        explaining: that of an explanation.
    """

    def __init__(
        self,
        settings: Settings,
        queue: JobQueue,
        datasets: DatasetStore,
        tracker: Tracker,
        registry: Registry,
        *,
        launcher: Launcher | None = None,
        training: Command | None = None,
        scoring: Command = scoring_command,
        explaining: Command = explaining_command,
    ) -> None:
        launcher = launcher or LocalLauncher()
        grace = settings.cancel_grace_seconds
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self._settings = settings
        self._queue = queue
        self._closer = RunCloser(queue, tracker, settings)
        self._retention = Retention(queue, settings)
        self._stopping = threading.Event()
        self._database_answers = True
        self._tools = Tools(
            queue=queue,
            datasets=datasets,
            tracker=tracker,
            launcher=launcher,
            publisher=Publisher(tracker, registry, launcher, grace),
            training=training or TrainingCommand(settings.gpus_per_job),
            scoring=scoring,
            explaining=explaining,
            device=settings.device,
            lease_seconds=settings.lease_seconds,
            grace_seconds=grace,
        )

    def run(self) -> None:
        """Work until `stop`, SIGTERM or SIGINT. A job under way is handed back to the queue."""
        helpers = [
            threading.Thread(target=run, args=(self._stopping,), name=name, daemon=True)
            for name, run in (
                ("run-closer", self._closer.run),
                ("searches", self._keep_searches),
                ("retention", self._retention.run),
            )
        ]
        with self._until_signaled():
            _log.info("Worker %s waits for jobs.", self.name)
            for helper in helpers:
                helper.start()
            while not self._stopping.is_set():
                claim = self._claim()
                if claim is None:
                    self._stopping.wait(_POLL_SECONDS)
                else:
                    self._attempt(claim)
        _log.info("Worker %s has stopped.", self.name)

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopping.set()

    def _keep_searches(self, stopping: threading.Event) -> None:
        from pellucid.search.keeper import SearchKeeper  # optuna takes a while

        keeper = SearchKeeper(
            self._queue,
            self._tools.datasets,
            self._tools.tracker,
            name=self.name,
            lease_seconds=self._settings.lease_seconds,
        )
        keeper.run(stopping)

    def _claim(self) -> Claim | None:
        try:
            claim = self._queue.claim(self.name, self._settings.lease_seconds)
        except DatabaseUnavailable as error:
            if self._database_answers:
                _log.warning("%s", error)
            self._database_answers = False
            return None
        self._database_answers = True
        return claim

    def _attempt(self, claim: Claim) -> None:
        _log.info("Job %s is running: %s", claim.job_id, claim.job.reason)
        workspace = Workspace(self._settings.home / "jobs" / claim.job_id)
        try:
            job = _ATTEMPTS[claim.job.kind](claim, workspace, self._tools, self._stopping).run()
        except Exception:  # the next claim of this job goes on after its lease has run out
            _log.exception("Job %s: its attempt could not be settled.", claim.job_id)
            return
        if job is None:
            _log.warning("Job %s is not this worker's any more.", claim.job_id)
        else:
            _log.info("Job %s is %s: %s", job.id, job.status, job.reason)

    @contextmanager
    def _until_signaled(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT; signals only ever reach the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, lambda *_: self.stop())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_worker(settings: Settings) -> None:
    """Run a worker as these settings say, until SIGTERM or SIGINT; the body of its process.

    Raises:
        Conflict: the database's schema is not the newest.
        DatabaseUnavailable: the database does not answer at the start.
    """
    configure_logging(settings.log_format)
    require_newest(settings.resolved_database_url)
    database = Database(settings.resolved_database_url)
    tracker, registry = connect(settings)
    queue = JobQueue(database, settings.max_attempts)
    datasets = DatasetStore(settings.home, database, settings.max_cell_bytes)
    Worker(settings, queue, datasets, tracker, registry).run()
    database.close()
