"""Runs training processes on this machine, each as a process group of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from pellucid.jobs.launchers import tether
from pellucid.settings import PREFIX

_MARK = "PELLUCID_JOB_DIRECTORY"  # in the environment of all that an attempt starts


class LocalProcess:
    """A process on this machine, the leader of its group."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._signal(signal.SIGKILL)  # what it left behind
        return status

    def terminate(self, grace: float) -> None:
        """End the group: SIGTERM, `grace` seconds, SIGKILL."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class LocalLauncher:
    """Starts processes on this machine; they end with the thread that started them."""

    def start(self, arguments: Sequence[str], *, log: Path, mark: str) -> LocalProcess:
        """Start a process group. It gets our environment without our own settings and secrets."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *arguments],
                env=environment | {"PYTHONUNBUFFERED": "1", _MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return LocalProcess(process)

    def end_leftovers(self, mark: str) -> int:
        """Kill the processes of this machine whose environment carries the mark."""
        found = [process for process in psutil.process_iter() if _is_marked(process, mark)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)
        return len(found)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return False
