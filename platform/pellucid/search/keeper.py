"""The keeper of searches: a thread of every worker that takes each search a step further.

A step claims the search like an attempt claims a job, so whoever dies, another worker's keeper
goes on; all it knows is read from the job table. Between two steps nobody holds the search, and
its trials are jobs like any other: a single worker is enough.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from pellucid.datasets.store import DatasetStore
from pellucid.db.base import now
from pellucid.errors import InvalidPlan, LeaseLost, PellucidError, Unavailable
from pellucid.jobs.lease import Interrupted, Lease
from pellucid.jobs.queue import Claim, JobQueue
from pellucid.plan import Plan, Search
from pellucid.resources.jobs import Job, JobStatus
from pellucid.search.records import Records
from pellucid.search.space import best_of, trial_plan
from pellucid.search.study import Trial, best, hopeless, suggest
from pellucid.tracking.contract import Tracker
from pellucid.tracking.page import flatten, open_run

_log = logging.getLogger(__name__)
_STEP_SECONDS = 1.0
_TRACKER_REST_SECONDS = 15.0
_ALL_FAIL = 5  # so many trials that fail before any other end: the search itself is at fault
PARENT_TAG = "mlflow.parentRunId"


class SearchKeeper:
    """Steps every search whose step is due.

    Args:
        queue: where the searches and their trials are.
        datasets: where the schema of their data is.
        tracker: gets a run for each search, above the runs of its trials.
        name: of the worker.
        lease_seconds: a keeper that is silent for so long in a step has died.
    """

    def __init__(
        self,
        queue: JobQueue,
        datasets: DatasetStore,
        tracker: Tracker,
        *,
        name: str,
        lease_seconds: float,
    ) -> None:
        self._queue = queue
        self._datasets = datasets
        self._tracker = tracker
        self._name = name
        self._lease_seconds = lease_seconds
        self._records = Records(queue)
        self._linked: set[tuple[str, str]] = set()
        self._track_after = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Step searches until told to stop."""
        while not stopping.wait(_STEP_SECONDS):
            try:
                while not stopping.is_set() and self.step(stopping):
                    pass
            except Unavailable as error:
                _log.warning("Searches wait: %s", error)
            except Exception:  # its lease runs out, and its next step is tried again
                _log.exception("A search could not be taken a step further.")

    def step(self, stopping: threading.Event | None = None) -> bool:
        """Take the search that is due one step further; False if none is.

        Raises:
            DatabaseUnavailable: the step is repeated once its lease has run out.
        """
        claim = self._queue.claim_search(self._name, self._lease_seconds)
        if claim is None:
            return False
        lease = Lease(self._queue, claim, self._lease_seconds, stopping or threading.Event())
        try:
            with lease:
                goes_on = self._advance(claim, lease)
            if goes_on:
                self._queue.next_step(claim, _STEP_SECONDS)
        except LeaseLost:
            _log.warning("Search %s is not this worker's any more.", claim.job_id)
        except Unavailable:
            raise
        except PellucidError as error:
            self._fail(claim, str(error))
        except Exception as error:
            _log.exception("Search %s: its step failed.", claim.job_id)
            self._queue.requeue(claim, f"A step of the search failed: {error!r}.")
        return True

    def _advance(self, claim: Claim, lease: Lease) -> bool:
        """One step; whether there will be another."""
        search, jobs = _search(claim.job), self._queue.trials(claim.job_id)
        if claim.job.cancel_requested:
            return self._end_canceled(claim, jobs)
        trials = [self._records.trial(job, search) for job in jobs]
        self._prune(claim, search, jobs, trials)
        self._start(claim, search, trials)
        jobs = self._queue.trials(claim.job_id)
        self._tell(claim, search, jobs)
        self._track(claim, jobs, lease)
        if len(jobs) < search.trials or not all(job.status.final for job in jobs):
            self._check_failures(jobs)
            return True
        self._conclude(claim, search, jobs)
        return False

    def _prune(
        self, claim: Claim, search: Search, jobs: Sequence[Job], trials: Sequence[Trial]
    ) -> None:
        running = next((job for job in jobs if job.status is JobStatus.RUNNING), None)
        if running is None:
            return
        epochs = int(running.plan["training"]["epochs"])
        for number in hopeless(search, trials, epochs):
            if not jobs[number].cancel_requested:
                reason = "Pruned: other trials did better after as many epochs."
                self._queue.prune(claim, jobs[number].id, reason)

    def _start(self, claim: Claim, search: Search, trials: list[Trial]) -> None:
        """Queue trials until as many as allowed are under way."""
        active = sum(not trial.status.final for trial in trials)
        missing = min(search.parallel - active, search.trials - len(trials))
        schema = None
        for _ in range(missing):
            if schema is None:
                reference = claim.job.plan["data"]["dataset"]
                schema = self._datasets.get(reference).data_schema
            number = len(trials)
            values = suggest(search, trials, number)
            plan: dict[str, Any] | str
            try:
                plan = trial_plan(claim.job.plan, values, schema).model_dump(mode="json")
            except InvalidPlan as error:
                plan = str(error)
            job = self._queue.add_trial(claim, number, values, plan)
            if job is None:
                return
            trials.append(Trial(number, values, job.status))

    def _tell(self, claim: Claim, search: Search, jobs: Sequence[Job]) -> None:
        """Events of the search: which trials have ended, and how it stands."""
        told = self._records.told(claim.job_id)
        events: list[tuple[str, dict[str, Any], Any]] = []
        for job in jobs:
            if job.status.final and (job.trial, job.status.value) not in told:
                data = {"trial": job.trial, "job": job.id, "status": job.status.value}
                value = self._records.trial(job, search).value
                events.append(("trial", data | {"value": value, "reason": job.reason}, now()))
        progress = self._standing(search, jobs)
        if progress != claim.job.progress:
            events.append(("progress", progress, now()))
        if events:
            self._queue.append_events(claim, events)

    def _standing(self, search: Search, jobs: Sequence[Job]) -> dict[str, Any]:
        count = {status: sum(job.status is status for job in jobs) for status in JobStatus}
        found = best(search, [self._records.trial(job, search) for job in jobs])
        return {
            "trials": search.trials,
            "ended": sum(job.status.final for job in jobs),
            "running": count[JobStatus.RUNNING],
            "pruned": count[JobStatus.PRUNED],
            "failed": count[JobStatus.FAILED],
            "metric": best_of(search),
            "best": found
            and {"trial": found.number, "value": found.value, "params": dict(found.params)},
        }

    def _track(self, claim: Claim, jobs: Sequence[Job], lease: Lease) -> None:
        """A run for the search, and the runs of its trials below it; later, if nobody answers."""
        if time.monotonic() < self._track_after:
            return
        try:
            run_id = claim.job.run_id or self._open_run(claim, lease)
            for job in jobs:
                if job.run_id is not None and (job.run_id, run_id) not in self._linked:
                    lease.check()
                    self._tracker.set_tags(job.run_id, {PARENT_TAG: run_id})
                    self._linked.add((job.run_id, run_id))
        except Interrupted:
            return
        except PellucidError as error:
            if isinstance(error, LeaseLost):
                raise
            _log.warning("Search %s is not tracked yet: %s", claim.job_id, error)
            self._track_after = time.monotonic() + _TRACKER_REST_SECONDS

    def _open_run(self, claim: Claim, lease: Lease) -> str:
        lease.confirm()
        run_id = open_run(self._tracker, claim.job)
        self._queue.set_run(claim, run_id)
        self._tracker.log_params(run_id, flatten({"search": claim.job.plan["search"]}))
        return run_id

    def _conclude(self, claim: Claim, search: Search, jobs: Sequence[Job]) -> None:
        found = best(search, [self._records.trial(job, search) for job in jobs])
        self._records.forget(jobs)
        if found is None:
            reasons = [job.reason for job in jobs if job.status is JobStatus.FAILED]
            why = f" The first that failed: {reasons[0]}" if reasons else ""
            self._queue.finish(claim, JobStatus.FAILED, f"No trial succeeded.{why}")
            return
        reason = (
            f"Trial {found.number} is the best of {len(jobs)}: {best_of(search)} "
            f"{found.value:.6g}. Waiting for a worker to evaluate and register it."
        )
        self._queue.conclude(claim, jobs[found.number].id, reason)

    def _end_canceled(self, claim: Claim, jobs: Sequence[Job]) -> bool:
        """Wait until all trials have ended; the cancel was passed on to them with its request."""
        if not all(job.status.final for job in jobs):
            return True
        self._records.forget(jobs)
        self._queue.finish(claim, JobStatus.CANCELED, "Canceled on request.")
        return False

    def _check_failures(self, jobs: Sequence[Job]) -> None:
        ended = [job for job in jobs if job.status.final]
        if len(ended) >= _ALL_FAIL and all(job.status is JobStatus.FAILED for job in ended):
            raise PellucidError(
                f"The first {len(ended)} trials failed. Trial 0: {ended[0].reason}",
                remedy="Mend the plan or its search.space, and submit it again.",
            )

    def _fail(self, claim: Claim, reason: str) -> None:
        try:
            self._queue.stop_trials(claim)
            self._queue.finish(claim, JobStatus.FAILED, reason)
        except LeaseLost:
            _log.warning("Search %s is not this worker's any more.", claim.job_id)


def _search(job: Job) -> Search:
    search = Plan.parse(job.plan).search
    assert search is not None, "the plan of a search has one"
    return search
