"""One process, or one for each GPU; and what becomes of them when they are killed."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from pellucid.jobs.launchers import gpus
from pellucid.jobs.launchers.local import LocalLauncher, LocalProcess
from pellucid.jobs.launchers.training import TrainingCommand, together
from pellucid.jobs.workspace import Request, Workspace
from pellucid.schema import Schema
from support.workers import wait_until


def command(root: Path, most: int, there: int, **plan: object) -> list[str]:
    Workspace(root).write_request(
        Request(
            job_id="j1",
            attempt=1,
            plan={"name": "toy", "data": {"dataset": "toy"}, **plan},
            data_schema=Schema(columns=()),
            data_version="0" * 64,
            data_path="data.parquet",
        )
    )
    return TrainingCommand(most, lambda: there)(root)


@pytest.mark.parametrize(
    ("most", "there", "processes"),
    [(1, 4, 1), (2, 4, 2), (0, 4, 4), (4, 2, 2), (0, 1, 1), (4, 0, 1), (0, 0, 1)],
)
def test_as_many_processes_as_there_are_gpus_for_a_job(
    tmp_path: Path, most: int, there: int, processes: int
) -> None:
    found = command(tmp_path, most, there)
    program = [sys.executable, "-m", "pellucid_pipelines.train", str(tmp_path)]
    assert found[-4:] == program
    assert (found == program) == (processes == 1)
    assert (f"--nproc-per-node={processes}" in found) == (processes > 1)


@pytest.mark.parametrize(
    "plan",
    [{"training": {"device": "cpu"}}, {"cross_validation": {}}, {"training": {"batch_size": 3}}],
)
def test_one_process_where_several_are_of_no_use(tmp_path: Path, plan: dict[str, object]) -> None:
    assert len(command(tmp_path, 0, 4, **plan)) == 4


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, 4), ("", 0), ("0,2", 2), ("1,-1,2", 1), ("0,1,2,3,4,5", 4)]
)
def test_gpus_that_are_hidden_do_not_count(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int
) -> None:
    monkeypatch.setattr(gpus, "_listed", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.count() == expected


def test_without_the_library_nvidia_smi_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: One (UUID: a)'\necho 'GPU 1: One (UUID: b)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.count() == 2
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.count() == 0


SLEEPER = """
import os, pathlib, sys, time
done = pathlib.Path(sys.argv[1], os.environ["RANK"])
done.with_suffix(".new").write_text(str(os.getpid()))
done.with_suffix(".new").rename(done)
time.sleep(600)
"""


def sleeping(root: Path) -> tuple[LocalProcess, list[int]]:
    """Two processes that train together, as the launcher starts them, and their numbers."""
    program = [*together(2), sys.executable, "-c", SLEEPER, str(root)]
    process = LocalLauncher().start(program, log=root / "log", mark=str(root))
    wait_until(lambda: (root / "0").exists() and (root / "1").exists(), 180)
    return process, [int((root / rank).read_text()) for rank in "01"]


@pytest.mark.parametrize("grace", [0.0, 20.0])
def test_none_is_left_when_they_are_told_to_end(tmp_path: Path, grace: float) -> None:
    process, ranks = sleeping(tmp_path)
    assert process.poll() is None
    process.terminate(grace)
    wait_until(lambda: not any(map(psutil.pid_exists, ranks)))


def test_none_outlives_the_process_that_started_them(tmp_path: Path) -> None:
    process, ranks = sleeping(tmp_path)
    torchrun = psutil.Process(ranks[0]).ppid()
    os.kill(torchrun, signal.SIGKILL)
    wait_until(lambda: not any(map(psutil.pid_exists, ranks)))
    assert process.poll() == -signal.SIGKILL
