"""Ships a job's metrics and environment from its workspace to the tracker.

The training process only appends to local files; a thread of the worker reads them from here.
Nothing is remembered on disk: what a run already has is asked of the tracker itself. So a worker
that was killed, a tracker that was down for minutes, a request whose answer was lost and an
attempt that repeats epochs all end in the same curves: no gap, no step twice.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pellucid.errors import PellucidError, Unavailable
from pellucid.jobs.workspace import Metric, Workspace, read_spool
from pellucid.tracking.contract import Tracker

_log = logging.getLogger(__name__)
_BATCH = 1000
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0


class MetricFeed:
    """What a workspace's spools hold and a run does not have yet.

    The steps of one key only grow, so a step not above the key's last one is a repetition: of an
    earlier attempt, or of an earlier worker.
    """

    def __init__(self, tracker: Tracker, workspace: Workspace, run_id: str) -> None:
        self._tracker = tracker
        self._workspace = workspace
        self._run_id = run_id
        self._last = tracker.last_steps(run_id)
        self._metrics_read = 0
        self._events_read = 0

    def ship(self) -> None:
        """Send everything that is complete; after an error, simply call it again."""
        self._ship_environment()
        while self._ship_batch():
            pass

    def _ship_batch(self) -> bool:
        """Send up to a thousand new points; whether there may be more."""
        last, read = dict(self._last), self._metrics_read
        batch: list[Metric] = []
        for end, entry in read_spool(self._workspace.metrics_path, self._metrics_read):
            read, metric = end, _metric(entry)
            if metric.step > last.get(metric.key, -1):
                last[metric.key] = metric.step
                batch.append(metric)
            if len(batch) == _BATCH:
                break
        if batch:
            self._tracker.log_metrics(self._run_id, batch)
        self._last, self._metrics_read = last, read
        return len(batch) == _BATCH

    def _ship_environment(self) -> None:
        """Tag the run with what the training process said about its environment."""
        for read, event in read_spool(self._workspace.events_path, self._events_read):
            if event.get("kind") == "environment":
                tags = event["data"]["tags"]
                self._tracker.set_tags(self._run_id, {key: str(tags[key]) for key in tags})
            self._events_read = read


class MetricShipper:
    """Ships in a background thread, and tries again, more slowly, while the tracker is down.

    The worker calls `start`; `drain` once the training process has ended; `stop`. The tags of an
    `environment` event are set from here too.

    Args:
        tracker: where to.
        workspace: the job's directory.
        open_run: opens the job's run and says its id, which is then in `run_id`; called when the
            tracker is first needed, and again if the run has disappeared. It may do more, such
            as noting the id in the job table under the attempt's fencing token.
    """

    def __init__(self, tracker: Tracker, workspace: Workspace, open_run: Callable[[], str]) -> None:
        self.run_id: str | None = None
        self._tracker = tracker
        self._workspace = workspace
        self._open_run = open_run
        self._feed: MetricFeed | None = None
        self._changed = threading.Condition()
        self._asked = 0  # passes asked for by `drain`
        self._done = 0  # the last of them that is complete
        self._stopping = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="metric-shipper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def drain(self, timeout: float) -> bool:
        """Wait until all that lies in the spools now is shipped; False if that takes too long."""
        with self._changed:
            self._asked += 1
            wanted = self._asked
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._done >= wanted or self._failure is not None, timeout
            )
            if self._failure is not None:
                raise self._failure
            return self._done >= wanted

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; what is not shipped yet is shipped by whoever comes next."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stopping:
            asked = self._asked
            try:
                self._ship()
            except PellucidError as error:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                _log.warning("Metrics wait for %.0f s: %s", pause, error)
            except Exception as error:
                self._report(failure=error)
                return
            else:
                pause = _PAUSE_SECONDS
                self._report(done=asked)
            self._wait(asked, pause)

    def _ship(self) -> None:
        """Open the run where that is still to be done, and ship what is there."""
        try:
            if self._feed is None:
                self.run_id = self._open_run()
                self._feed = MetricFeed(self._tracker, self._workspace, self.run_id)
            self._feed.ship()
        except Unavailable:
            raise
        except PellucidError:  # such as a run that somebody deleted
            self._feed = None
            raise

    def _wait(self, asked: int, pause: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._asked > asked, pause)

    def _report(self, done: int = 0, failure: Exception | None = None) -> None:
        """Tell those who wait in `drain`."""
        with self._changed:
            self._done = max(done, self._done)
            self._failure = failure
            self._changed.notify_all()


def _metric(entry: dict[str, Any]) -> Metric:
    return Metric(entry["key"], float(entry["value"]), int(entry["step"]), int(entry["time"]))
