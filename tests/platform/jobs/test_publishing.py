"""Publishing is interrupted at once, never half-way through what others see."""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pellucid.jobs.launchers.local import LocalLauncher, LocalProcess
from pellucid.resources.jobs import JobStatus
from pellucid.tracking.contract import CHALLENGER, CHAMPION, ModelVersion
from pellucid.tracking.memory import MemoryTracker
from support.workers import Bench, wait_until

COMPARISON = {
    "metric": "rmse",
    "champion": 0.6,
    "candidate": 0.5,
    "difference": 0.1,
    "low": 0.05,
    "high": 0.15,
    "rows": 20,
}


class Hanging(MemoryTracker):
    """Registration is answered only when `answer` is set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked = threading.Event()
        self.answer = threading.Event()

    def register(
        self, run_id: str, name: str, bundle: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        self.asked.set()
        self.answer.wait(30)
        return super().register(run_id, name, bundle, tags)


class Meddling(MemoryTracker):
    """The job is canceled just after its model became visible."""

    bench: Bench
    job_id: str

    def set_alias(self, name: str, alias: str, version: int) -> None:
        super().set_alias(name, alias, version)
        self.bench.queue.cancel(self.job_id)
        time.sleep(1.5)  # the worker hears of it meanwhile


class Comparing(LocalLauncher):
    """The comparison is a script of ours."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.asked = threading.Event()

    def start(self, arguments: Sequence[str], *, log: Path, mark: str) -> LocalProcess:
        if "pellucid_pipelines.compare" in arguments:
            assert (Path(arguments[-2]) / "manifest.json").is_file()
            arguments = [sys.executable, "-c", self.script, arguments[-1]]
            self.asked.set()
        return super().start(arguments, log=log, mark=mark)


def test_a_request_that_hangs_delays_no_cancel(bench: Bench, tmp_path: Path) -> None:
    tracker = bench.tracker = Hanging(tmp_path / "hanging")
    job_id = bench.submit()
    with bench.working():
        assert tracker.asked.wait(30)
        bench.queue.cancel(job_id)
        job = bench.wait_for(job_id, lambda job: job.status.final, timeout=5)
        assert job.status is JobStatus.CANCELED
        tracker.answer.set()
        bench.ended(job_id)
        wait_until(lambda: tracker.versions("toy"))
        time.sleep(0.5)
    assert tracker.model("toy").aliases == {}
    assert [run.status for run in tracker.runs.values()] == ["KILLED"]


def test_a_cancel_after_the_alias_moved_comes_too_late(bench: Bench, tmp_path: Path) -> None:
    tracker = bench.tracker = Meddling(tmp_path / "meddling")
    tracker.bench, tracker.job_id = bench, bench.submit()
    with bench.working():
        job = bench.ended(tracker.job_id)
    assert (job.status, job.cancel_requested) == (JobStatus.SUCCEEDED, True)
    assert [run.status for run in tracker.runs.values()] == ["FINISHED"]


def succeed_after_a_champion(bench: Bench, script: str) -> str:
    """The second job's reason; its comparison with the first runs the script."""
    bench.launcher = Comparing(script)
    with bench.working():
        bench.ended(bench.submit())
        job = bench.ended(bench.submit(gates={"promote": "better"}))
    assert job.status is JobStatus.SUCCEEDED
    return job.reason


def test_a_better_candidate_becomes_champion(bench: Bench) -> None:
    answer = json.dumps(COMPARISON)
    script = f"import sys; open(sys.argv[1] + '/outputs/comparison.json', 'w').write({answer!r})"
    assert "rmse improves by 0.1" in succeed_after_a_champion(bench, script)
    assert bench.tracker.model("toy").aliases == {CHAMPION: 2}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise SystemExit('no test rows')", "status 1; its last lines were:"),
        ("print('done')", "wrote no answer"),
    ],
)
def test_a_failed_comparison_leaves_a_challenger(bench: Bench, script: str, said: str) -> None:
    assert said in succeed_after_a_champion(bench, script)
    assert bench.tracker.model("toy").aliases == {CHAMPION: 1, CHALLENGER: 2}


def test_a_cancel_ends_the_comparison(bench: Bench) -> None:
    bench.launcher = launcher = Comparing("import time; time.sleep(600)")
    with bench.working():
        bench.ended(bench.submit())
        job_id = bench.submit(gates={"promote": "better"})
        assert launcher.asked.wait(30)
        bench.queue.cancel(job_id)
        job = bench.wait_for(job_id, lambda job: job.status.final, timeout=5)
        assert job.status is JobStatus.CANCELED
        wait_until(lambda: bench.processes(job_id) == [], timeout=5)
    assert bench.tracker.model("toy").aliases == {CHAMPION: 1}
