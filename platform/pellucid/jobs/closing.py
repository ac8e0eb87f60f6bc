"""Closes the runs of ended jobs, so that the tracker never shows one RUNNING for good."""

import logging
import threading

from pellucid.errors import NotFound, PellucidError, Unavailable
from pellucid.jobs.queue import JobQueue
from pellucid.jobs.workspace import Workspace
from pellucid.resources.jobs import Job, JobStatus
from pellucid.settings import Settings
from pellucid.tracking.contract import RunStatus, Tracker
from pellucid.tracking.page import open_run
from pellucid.tracking.shipper import MetricFeed

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 1.0
_RUN_STATUS: dict[JobStatus, RunStatus] = {
    JobStatus.SUCCEEDED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELED: "KILLED",
    JobStatus.PRUNED: "KILLED",
}


class RunCloser:
    """Works off the list of ended jobs whose run is still open; a job's end never waits for it.

    The list is in the database, so whoever dies, another worker goes on with it. A run may exist
    that nobody noted, opened by a worker just before it died: it is looked up by its job.
    """

    def __init__(self, queue: JobQueue, tracker: Tracker, settings: Settings) -> None:
        self._queue = queue
        self._tracker = tracker
        self._jobs = settings.home / "jobs"

    def run(self, stopping: threading.Event) -> None:
        """Close runs until told to stop."""
        pause = _PAUSE_SECONDS
        while not stopping.wait(pause):
            try:
                self.close_all()
                pause = _PAUSE_SECONDS
            except PellucidError as error:
                pause = min(pause * 2, 16 * _PAUSE_SECONDS)
                _log.warning("Runs of ended jobs wait to be closed: %s", error)

    def close_all(self) -> None:
        """Close every run on the list, once.

        Raises:
            Unavailable: the tracker or the database does not answer; the rest stays on the list.
        """
        for job in self._queue.unclosed_runs():
            self._queue.mark_run_closed(job.id, self._close(job))

    def _close(self, job: Job) -> str:
        """Complete the run with what the job left behind, and close it; the run's id."""
        run_id = job.run_id or open_run(self._tracker, job)
        try:
            MetricFeed(self._tracker, Workspace(self._jobs / job.id), run_id).ship()
            self._tracker.set_tags(run_id, {"pellucid.reason": job.reason})
        except Unavailable:
            raise
        except PellucidError as error:  # what remains to be said is lost, the run is closed anyway
            _log.warning("The run of job %s is incomplete: %s", job.id, error)
        try:
            self._tracker.close_run(run_id, _RUN_STATUS[job.status])
        except NotFound:  # somebody deleted it
            _log.warning("Job %s has no run %s any more.", job.id, run_id)
        return run_id
