"""One attempt of a claimed job: from its preparation to the job's next state."""

import logging
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pellucid.datasets.store import DatasetStore
from pellucid.errors import (
    DatabaseUnavailable,
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
from pellucid.jobs.workspace import Workspace
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import Job, JobStatus
from pellucid.tracking.contract import Tracker

_log = logging.getLogger(__name__)
TICK_SECONDS = 0.2
RETRY_SECONDS = 0.5

Answer = TypeVar("Answer")
Command = Callable[[Path], list[str]]
"""From a job's directory, its request written, to the command line of its process."""
Ending = Callable[[], Job]
"""Writes the job's next state."""


class Crashed(Exception):
    """The process ended without a result and without an error of its own."""


@dataclass(frozen=True)
class Tools:
    """What a worker works with, the same for all attempts."""

    queue: JobQueue
    datasets: DatasetStore
    tracker: Tracker
    launcher: Launcher
    publisher: Publisher
    training: Command
    scoring: Command
    explaining: Command
    device: str  # that scorings and explanations run on, as `Settings.device`
    lease_seconds: float
    grace_seconds: float


class Attempt(ABC):
    """Runs one attempt. Must be run by a thread that lives as long as the worker.

    Args:
        claim: the job, just claimed.
        workspace: the job's directory.
        tools: of the worker.
        stopping: set when the worker is to stop; the job then waits for another.
    """

    what: ClassVar[str]
    """What the process does, at the start of a sentence."""

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

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write the process's request; its command line. Raises as `_work` does."""

    @abstractmethod
    def _conclude(self, result: dict[str, Any]) -> Ending:
        """Make of a committed result what the job is for. Raises as `_work` does."""

    def _alongside(self) -> AbstractContextManager[None]:
        """What goes on from the attempt's start to its end, under the lease."""
        return nullcontext()

    def run(self) -> Job | None:
        """The job in its next state, or None if that is not ours to decide any more."""
        with self._lease, self._alongside():
            try:
                return self._settle(self._ending())
            except (Lost, LeaseLost):
                return None

    def _ending(self) -> Ending:
        """Do the work; how the job goes on from here."""
        queue, claim = self._tools.queue, self._claim
        try:
            self._tools.launcher.end_leftovers(str(self._workspace.root))
            result = self._workspace.read_result()
            return self._conclude(self._work() if result is None else result)
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

    def _settle(self, ending: Ending) -> Job | None:
        """Store the last events and the job's next state, once the database answers."""
        while True:
            try:
                self._feed.send(final=True)
                return ending()
            except DatabaseUnavailable:
                if self._stopping.is_set():
                    return None  # the lease runs out by itself
            time.sleep(RETRY_SECONDS)

    def _work(self) -> dict[str, Any]:
        """Run the process to its end; the result that it committed.

        Raises:
            Crashed: another attempt may succeed.
            PellucidError: no attempt can succeed.
            Interrupted: as the lease says.
        """
        command = self._prepare()
        self._lease.confirm()
        process = self._tools.launcher.start(
            command, log=self._workspace.log_path, mark=str(self._workspace.root)
        )
        try:
            while (status := process.poll()) is None:
                self._follow()
                self._lease.check()
                time.sleep(TICK_SECONDS)
        finally:
            process.terminate(self._tools.grace_seconds)
            shutil.rmtree(self._workspace.scratch, ignore_errors=True)
        return self._judge(status)

    def _judge(self, status: int) -> dict[str, Any]:
        result = self._workspace.read_result()
        if result is not None:
            return result
        error = self._workspace.read_error()
        if error is not None:
            raise PellucidError(error["message"], where=error["where"], remedy=error["remedy"])
        raise Crashed(f"{self.what} {describe(status, self._workspace.log_path)}")

    def _content(self, reference: str) -> tuple[Dataset, Path]:
        """The data set version that the job was submitted for, and its file.

        Raises:
            NotFound: one of the two is gone.
        """
        dataset = self._tools.datasets.get(reference)
        path = self._tools.datasets.path(self._job.data_version)
        if dataset.sha256 != self._job.data_version or not path.is_file():
            raise NotFound(
                f"The content of {reference} that the job was submitted for is not here.",
                where={"file": str(path)},
                remedy="Give every worker the same PELLUCID_HOME, and the data set its content.",
            )
        return dataset, path

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
                time.sleep(RETRY_SECONDS)
