"""One attempt of a claimed job: from its preparation to the job's next state."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.datasets.store import DatasetStore
from pellucid.db.base import now
from pellucid.errors import (
    DatabaseUnavailable,
    InvalidPlan,
    LeaseLost,
    NotFound,
    PellucidError,
    Unavailable,
)
from pellucid.jobs.exits import describe
from pellucid.jobs.feed import EventFeed
from pellucid.jobs.launchers.contract import Launcher
from pellucid.jobs.lease import Canceled, Lease, Lost, Stopping
from pellucid.jobs.publishing import Publisher
from pellucid.jobs.queue import Claim, JobQueue
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid.resources import Job, JobStatus
from pellucid.tracking.contract import Tracker
from pellucid.tracking.page import flatten, open_run
from pellucid.tracking.publish import Published
from pellucid.tracking.shipper import MetricShipper

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.2
_RETRY_SECONDS = 0.5

Answer = TypeVar("Answer")
Ending = Callable[[], Job]
"""Writes the job's next state."""


class Crashed(Exception):
    """The training process ended without a result and without an error of its own."""


@dataclass(frozen=True)
class Tools:
    """What a worker works with, the same for all attempts."""

    queue: JobQueue
    datasets: DatasetStore
    tracker: Tracker
    launcher: Launcher
    publisher: Publisher
    training: Callable[[Path], list[str]]  # from a job's directory to the command line
    lease_seconds: float
    grace_seconds: float


class Attempt:
    """Runs one attempt. Must be run by a thread that lives as long as the worker.

    Args:
        claim: the job, just claimed.
        workspace: the job's directory.
        tools: of the worker.
        stopping: set when the worker is to stop; the job then waits for another.
    """

    def __init__(
        self, claim: Claim, workspace: Workspace, tools: Tools, stopping: threading.Event
    ) -> None:
        self._claim = claim
        self._job = claim.job
        self._workspace = workspace
        self._tools = tools
        self._stopping = stopping
        self._lease = Lease(tools.queue, claim, tools.lease_seconds, stopping)
        self._feed = EventFeed(tools.queue, claim, workspace)
        self._shipper = MetricShipper(tools.tracker, workspace, self._open_run)
        self._opening = threading.Lock()
        self._publishing = False

    def run(self) -> Job | None:
        """The job in its next state, or None if that is not ours to decide any more."""
        with self._lease:
            self._shipper.start()
            try:
                return self._settle(self._ending())
            except (Lost, LeaseLost):
                return None
            finally:
                self._shipper.stop(timeout=_RETRY_SECONDS)

    def _ending(self) -> Ending:
        """Do the work; how the job goes on from here."""
        queue, claim = self._tools.queue, self._claim
        try:
            self._tools.launcher.end_leftovers(str(self._workspace.root))
            if self._workspace.read_result() is None:
                self._train()
            published = self._publish()
        except (Lost, LeaseLost):
            raise
        except Canceled:
            return partial(queue.finish, claim, JobStatus.CANCELED, "Canceled on request.")
        except Stopping:
            return partial(queue.release, claim, "The worker stopped; waiting for another.")
        except Crashed as error:
            return partial(queue.requeue, claim, str(error))
        except PellucidError as error:
            return partial(queue.finish, claim, JobStatus.FAILED, str(error))
        except Exception as error:
            _log.exception("Job %s: the worker itself failed.", claim.job_id)
            return partial(queue.requeue, claim, f"The worker failed: {error!r}.")
        registered = published.version is not None
        said = f"Registered as {claim.job.name}/{published.version}. " if registered else ""
        return partial(
            queue.finish,
            claim,
            JobStatus.SUCCEEDED,
            said + published.reason,
            model_version=published.version,
            result=(self._workspace.read_result() or {}) | {"alias": published.alias},
        )

    def _settle(self, ending: Ending) -> Job | None:
        """Store the last events and the job's next state, once the database answers."""
        while True:
            try:
                self._feed.send(final=True)
                return ending()
            except DatabaseUnavailable:
                if self._stopping.is_set():
                    return None  # the lease runs out by itself
            time.sleep(_RETRY_SECONDS)

    def _train(self) -> None:
        """Run the training process to its end.

        Raises:
            Crashed: another attempt may succeed.
            PellucidError: no attempt can succeed.
            Interrupted: as the lease says.
        """
        self._workspace.write_request(self._patiently(self._request))
        if self._job.winner is not None:
            self._workspace.inherit(Workspace(self._workspace.root.parent / self._job.winner))
        self._lease.confirm()
        process = self._tools.launcher.start(
            self._tools.training(self._workspace.root),
            log=self._workspace.log_path,
            mark=str(self._workspace.root),
        )
        try:
            while (status := process.poll()) is None:
                self._follow()
                self._lease.check()
                time.sleep(_TICK_SECONDS)
        finally:
            process.terminate(self._tools.grace_seconds)
            shutil.rmtree(self._workspace.scratch, ignore_errors=True)
        self._judge(status)

    def _judge(self, status: int) -> None:
        if self._workspace.read_result() is not None:
            return
        error = self._workspace.read_error()
        if error is not None:
            raise PellucidError(error["message"], where=error["where"], remedy=error["remedy"])
        raise Crashed(f"Training {describe(status, self._workspace.log_path)}")

    def _publish(self) -> Published:
        self._shipper.stop()
        self._publishing = True
        while not self._opening.acquire(timeout=_TICK_SECONDS):
            self._lease.check()
        self._opening.release()
        self._follow()
        stage = ("stage", {"stage": "publish"}, now())
        self._patiently(lambda: self._tools.queue.append_events(self._claim, [stage]))
        job = self._patiently(lambda: self._tools.queue.get(self._claim.job_id))
        job = job.model_copy(update={"plan": self._job.plan})  # a search is its winner from now on
        return self._tools.publisher.publish(job, self._workspace, self._lease)

    def _request(self) -> Request:
        """What the training process is to do.

        Raises:
            PellucidError: the data set or its file is gone, or does not fit the plan.
        """
        plan = Plan.parse(self._job.plan)
        dataset = self._tools.datasets.get(plan.data.dataset)
        path = self._tools.datasets.path(self._job.data_version)
        if dataset.sha256 != self._job.data_version or not path.is_file():
            raise NotFound(
                f"The content of {plan.data.dataset} that the job was submitted for is not here.",
                where={"file": str(path)},
                remedy="Give every worker the same PELLUCID_HOME, and the data set its content.",
            )
        plan, schema = resolve(plan, dataset.data_schema)
        return Request(
            job_id=self._job.id,
            attempt=self._job.attempt,
            plan=plan.model_dump(mode="json"),
            data_schema=schema,
            data_version=self._job.data_version,
            data_path=str(path),
            weights_path=self._initial_weights(plan),
            trial=self._job.parent_id is not None,
            study=self._study(),
        )

    def _initial_weights(self, plan: Plan) -> str | None:
        """The weights of the version that the plan starts from, here on the disk.

        Raises:
            PellucidError: the version is gone, damaged, or from before bundles held weights.
        """
        if plan.transfer is None:
            return None
        assert plan.transfer.number is not None, "a submitted plan names a number"
        root = self._workspace.initial
        self._tools.publisher.registry.download(plan.transfer.name, plan.transfer.number, root)
        weights = Bundle.open(root).root / WEIGHTS
        if not weights.is_file():
            raise InvalidPlan(
                f"The bundle of {plan.transfer.version} holds no weights to start from.",
                where={"path": "transfer.version"},
                remedy="Train that model again with this version of Pellucid.",
            )
        return str(weights)

    def _study(self) -> dict[str, Any] | None:
        """The trials of the search whose winner this is."""
        if self._job.winner is None:
            return None
        from pellucid.search.records import study_of  # optuna: only where there is a search

        return study_of(self._tools.queue, self._job.id)

    def _open_run(self) -> str:
        """Open the job's run, for the shipper. Two at once might make two runs."""
        with self._opening:
            self._lease.confirm()
            if self._publishing:
                raise Lost
            run_id = open_run(self._tools.tracker, self._job)
            self._tools.queue.set_run(self._claim, run_id)
            self._tools.tracker.log_params(run_id, flatten(self._job.plan))
            return run_id

    def _follow(self) -> None:
        """Store new events; while the database is down they wait in the files."""
        try:
            self._feed.send()
        except DatabaseUnavailable:
            return

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """The call's answer, asked for until what it depends on is there."""
        while True:
            self._lease.check()
            try:
                return call()
            except Unavailable:
                time.sleep(_RETRY_SECONDS)
