"""Removes the files of scorings and explanations that ended long ago; trainings keep theirs."""

import logging
import shutil
import threading

from pellucid.errors import DatabaseUnavailable
from pellucid.jobs.queue import JobQueue
from pellucid.resources.jobs import BATCH_KINDS
from pellucid.settings import Settings

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 3600.0
_DAY_SECONDS = 86400.0
_GONE = ".removed"  # in the name of a directory that is being removed


class Retention:
    """Keeps `home/jobs` from growing without end. The job itself, and its events, stay.

    A directory is renamed before it is removed, so that several workers do not meet in one, and a
    job that is retried at this moment finds all of its files or none.

    Args:
        queue: knows which jobs have ended, and when.
        settings: home and `job_days`.
    """

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue = queue
        self._jobs = settings.home / "jobs"
        self._seconds = settings.job_days * _DAY_SECONDS

    def run(self, stopping: threading.Event) -> None:
        """Remove what is too old now and every hour, until told to stop."""
        while self._seconds:
            try:
                self.sweep()
            except (DatabaseUnavailable, OSError) as error:
                _log.warning("Files of old jobs are not removed: %s", error)
            if stopping.wait(_PAUSE_SECONDS):
                return

    def sweep(self) -> list[str]:
        """Remove what is too old; the jobs whose files are gone now. Raises `DatabaseUnavailable`.

        Raises:
            OSError: a directory cannot be renamed.
        """
        for left in self._jobs.glob(f"*{_GONE}"):  # by a worker that died over it
            shutil.rmtree(left, ignore_errors=True)
        removed = []
        for job_id in self._queue.ended(BATCH_KINDS, self._seconds):
            directory = self._jobs / job_id
            gone = directory.with_name(job_id + _GONE)
            try:
                directory.rename(gone)
            except FileNotFoundError:  # long since, or by another worker
                continue
            shutil.rmtree(gone, ignore_errors=True)
            removed.append(job_id)
        if removed:
            _log.info("Removed the files of %d old jobs.", len(removed))
        return removed
