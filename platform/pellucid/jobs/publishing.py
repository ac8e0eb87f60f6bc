"""Publishes a trained job for as long as that takes, and stops as soon as it should."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pellucid.errors import Unavailable
from pellucid.jobs.exits import describe
from pellucid.jobs.launchers.contract import Launcher
from pellucid.jobs.lease import Lease
from pellucid.jobs.workspace import Workspace
from pellucid.resources.jobs import Job
from pellucid.tracking.contract import Registry, Tracker
from pellucid.tracking.publish import Published, publish

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.1
_RETRY_SECONDS = 2.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Publisher:
    """Completes a job's run and registers its model, calling out only while the lease holds.

    Args:
        tracker: holds the run.
        registry: gets the version.
        launcher: runs the comparison with the champion.
        grace: seconds between SIGTERM and SIGKILL of a comparison that is interrupted.
    """

    tracker: Tracker
    registry: Registry
    launcher: Launcher
    grace: float

    def publish(self, job: Job, workspace: Workspace, lease: Lease) -> Published:
        """Publish, again and again while the tracker is down. Raises `Interrupted`."""
        tracker = cast("Tracker", _Guarded(self.tracker, lease))
        registry = cast("Registry", _Guarded(self.registry, lease))

        def compare(champion: Path) -> Mapping[str, Any]:
            return self._compare(champion, workspace, lease)

        while True:
            lease.confirm()
            try:
                return interruptible(
                    lambda: publish(job, workspace, tracker, registry, compare), lease
                )
            except Unavailable as error:
                _log.warning("Job %s is not published yet: %s", job.id, error)
            time.sleep(_RETRY_SECONDS)

    def _compare(self, champion: Path, workspace: Workspace, lease: Lease) -> Mapping[str, Any]:
        """The candidate against the champion; without an answer they are incomparable."""
        answer = workspace.outputs / "comparison.json"
        answer.unlink(missing_ok=True)
        root = str(workspace.root)
        command = [sys.executable, "-m", "pellucid_pipelines.compare", str(champion), root]
        process = self.launcher.start(command, log=workspace.log_path, mark=root)
        try:
            while (status := process.poll()) is None:
                lease.check()
                time.sleep(_TICK_SECONDS)
        finally:
            process.terminate(self.grace)
        if status != 0:
            return {"incomparable": f"The comparison {describe(status, workspace.log_path)}"}
        if not answer.is_file():
            return {"incomparable": "The comparison wrote no answer."}
        return cast("dict[str, Any]", json.loads(answer.read_bytes()))


def interruptible(work: Callable[[], Result], lease: Lease) -> Result:
    """Do it in a thread, so that a request that hangs delays no interruption.

    Raises `Interrupted`, or what the work raises. An interrupted thread is left to itself: at its
    next step it finds the lease gone.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="publish", daemon=True).start()
    while not wait([outcome], timeout=_TICK_SECONDS).done:
        lease.check()
    return outcome.result()


class _Guarded:
    """A tracker or registry whose every call first makes sure of the lease.

    An alias that moves is visible to everyone: after that, a cancel comes too late.
    """

    def __init__(self, inner: Tracker | Registry, lease: Lease) -> None:
        self._inner = inner
        self._lease = lease

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._lease.confirm()
            if name == "set_alias":
                self._lease.forbid_cancel()
            return method(*args, **kwargs)

        return call
