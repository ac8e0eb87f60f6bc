"""An attempt of a training: its process, its MLflow run, and the version that it registers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.db.base import now
from pellucid.errors import InvalidPlan
from pellucid.jobs.attempt import RETRY_SECONDS, TICK_SECONDS, Attempt, Ending, Tools
from pellucid.jobs.lease import Lost
from pellucid.jobs.queue import Claim
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid.resources.jobs import JobStatus
from pellucid.tracking.page import flatten, open_run
from pellucid.tracking.publish import Published
from pellucid.tracking.shipper import MetricShipper


class TrainingAttempt(Attempt):
    """Trains, publishes, and ships the curves meanwhile. So ends a search with a winner, too."""

    what = "Training"

    def __init__(
        self, claim: Claim, workspace: Workspace, tools: Tools, stopping: threading.Event
    ) -> None:
        super().__init__(claim, workspace, tools, stopping)
        self._shipper = MetricShipper(tools.tracker, workspace, self._open_run)
        self._opening = threading.Lock()
        self._publishing = False

    @contextmanager
    def _alongside(self) -> Iterator[None]:
        self._shipper.start()
        try:
            yield
        finally:
            self._shipper.stop(timeout=RETRY_SECONDS)

    def _prepare(self) -> list[str]:
        self._workspace.write_request(self._patiently(self._request))
        if self._job.winner is not None:
            self._workspace.inherit(Workspace(self._workspace.root.parent / self._job.winner))
        return self._tools.training(self._workspace.root)

    def _conclude(self, result: dict[str, Any]) -> Ending:
        published = self._publish()
        registered = published.version is not None
        said = f"Registered as {self._job.name}/{published.version}. " if registered else ""
        return partial(
            self._tools.queue.finish,
            self._claim,
            JobStatus.SUCCEEDED,
            said + published.reason,
            model_version=published.version,
            result=result | {"alias": published.alias},
        )

    def _publish(self) -> Published:
        self._shipper.stop()
        self._publishing = True
        while not self._opening.acquire(timeout=TICK_SECONDS):
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
        dataset, path = self._content(plan.data.dataset)
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
