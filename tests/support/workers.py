"""A worker on a database and a tracker in memory, which trains with `fake_training`.

`python -m support.workers HOME URL MODE` runs one as a process, for tests that kill it.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database
from pellucid.db.upgrade import upgrade
from pellucid.jobs.launchers.local import LocalLauncher
from pellucid.jobs.queue import JobQueue
from pellucid.jobs.worker import Worker
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from pellucid.resources.jobs import Job
from pellucid.schema import Role
from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from support import fake_training

Command = Callable[[Path], list[str]]


def training(mode: str) -> Command:
    """The command line of a fake training process."""
    return lambda root: [sys.executable, fake_training.__file__, str(root), mode]


class Bench:
    """A home, its database, queue and data sets, and a tracker; workers start from here."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.settings = Settings(
            home=home, database_url=url, lease_seconds=2.0, cancel_grace_seconds=1.0
        )
        upgrade(self.settings.resolved_database_url)
        self.database = Database(self.settings.resolved_database_url)
        self.queue = JobQueue(self.database, max_attempts=3)
        self.datasets = DatasetStore(home, self.database)
        self.tracker = MemoryTracker(home / "registry")
        self.launcher = LocalLauncher()
        source = home / "toy.csv"
        source.write_text("x,y\n" + "".join(f"{i},{i * 0.5}\n" for i in range(20)))
        self.dataset, _ = self.datasets.add(source, name="toy", roles={"y": Role.TARGET})

    def submit(self, **plan: object) -> str:
        """The id of a new job."""
        given = {"name": "toy", "data": {"dataset": "toy@1"}, **plan}
        resolved, _ = resolve(Plan.parse(given), self.dataset.data_schema)
        job, _ = self.queue.submit(
            given if resolved.search else resolved.model_dump(mode="json"),
            name="toy",
            data_version=self.dataset.sha256,
            kind="search" if resolved.search else "training",
        )
        return job.id

    def workspace(self, job_id: str) -> Workspace:
        return Workspace(self.settings.home / "jobs" / job_id)

    def worker(self, mode: str | Command) -> Worker:
        return Worker(
            self.settings,
            self.queue,
            self.datasets,
            self.tracker,
            self.tracker,
            launcher=self.launcher,
            training=training(mode) if isinstance(mode, str) else mode,
        )

    @contextmanager
    def working(self, mode: str | Command = "succeed") -> Iterator[Worker]:
        """A worker at work in a thread, stopped at the end of the block."""
        with at_work(self.worker(mode)) as worker:
            yield worker

    @contextmanager
    def working_process(self, mode: str = "succeed") -> Iterator["subprocess.Popen[bytes]"]:
        """A worker as a process of its own, with a tracker of its own; killed at the end."""
        tests = Path(__file__).parents[1]
        url = self.settings.resolved_database_url
        process = subprocess.Popen(
            [sys.executable, "-m", "support.workers", str(self.settings.home), url, mode],
            env=os.environ | {"PYTHONPATH": str(tests)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_for(
        self, job_id: str, condition: Callable[[Job], object], timeout: float = 60.0
    ) -> Job:
        """The job, once the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition(job := self.queue.get(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> Job:
        """The job, once it has ended and its run is closed."""
        job = self.wait_for(job_id, lambda job: job.status.final)
        wait_until(lambda: not self.queue.unclosed_runs())
        return job

    def steps(self, key: str = "train/loss") -> list[int]:
        """The steps that the tracker holds, of its only run."""
        (run,) = self.tracker.runs.values()
        return [metric.step for metric in run.history if metric.key == key]

    def processes(self, job_id: str) -> list[psutil.Process]:
        """All living processes that carry the job's mark."""
        mark = str(self.workspace(job_id).root)
        return [process for process in psutil.process_iter() if mark_of(process) == mark]

    def log(self, job_id: str) -> str:
        """The log as the events tell it."""
        events = self.queue.events(job_id, kinds=["log"])
        return "".join(event.data["text"] for event in events)


@contextmanager
def at_work(worker: Worker) -> Iterator[Worker]:
    """The worker, running in a thread until the end of the block."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(60)
        assert not thread.is_alive()


def mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PELLUCID_JOB_DIRECTORY")
    except psutil.Error:
        return None


def wait_until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


if __name__ == "__main__":
    home, url, mode = sys.argv[1:]
    Bench(Path(home), url).worker(mode).run()
