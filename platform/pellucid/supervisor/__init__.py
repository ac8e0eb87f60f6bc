"""Starts processes, keeps them running, and ends all of them.

Each service is the leader of a process group of its own, so that a Ctrl-C reaches the supervisor
alone, and so that a service's own children end with it. A crashed service is started again after
a growing delay. When the supervisor itself dies, its guard ends the services.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Self

import httpx

from pellucid.errors import Unavailable
from pellucid.supervisor import guard

Say = Callable[[str], None]

_START_SECONDS = 120.0  # MLflow's first start migrates its database, on a busy machine slowly
_POLL_SECONDS = 0.2
_LONGEST_DELAY = 30.0
_STEADY_SECONDS = 60.0  # up this long, a service starts over with the shortest delay
_TAIL_LINES = 12


@dataclass(frozen=True)
class Service:
    """A process to keep running. `health_url` answers 200 once it is ready; "": no way to ask."""

    name: str
    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    health_url: str = ""


class Supervisor:
    """Runs services from the start to the end of a `with` block.

    Args:
        services: in the order of their start; they are stopped in the reverse order.
        logs: directory of their log files, one each.
        say: told what happens, one line at a time.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self, services: Sequence[Service], logs: Path, say: Say, grace: float = guard.GRACE_SECONDS
    ) -> None:
        self._say = say
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)
        self._running = [_Process(service, logs, grace, self._report) for service in services]
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start every service and wait until each is ready.

        Raises:
            Unavailable: a service stopped, or was not ready in time; its last lines are told.
        """
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            for process in self._running:
                process.start()
            for process in self._running:
                took = process.wait_until_ready()
                self._say(f"{process.name} is ready ({took:.1f} s)")
        except BaseException:
            self._stop()
            raise
        self._watch.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()

    def pids(self) -> dict[str, int]:
        """The process of every service that runs now."""
        return {process.name: process.pid for process in self._running if process.pid}

    def _stop(self) -> None:
        """End every service, last started first; an interrupt meanwhile kills them at once."""
        self._stopping.set()
        try:
            if self._watch.is_alive():
                self._watch.join()
            for process in reversed(self._running):
                if not process.terminate():
                    self._say(f"{process.name} did not stop in time and was killed")
        except KeyboardInterrupt:
            self._say("killing every service")
        finally:
            for process in self._running:
                process.kill()
            if self._guard and self._guard.stdin:
                self._guard.stdin.close()
                self._guard.wait()

    def _keep_running(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            for process in self._running:
                message = process.revive()
                if message:
                    self._say(message)

    def _report(self, line: str) -> None:
        if self._guard and self._guard.stdin:
            self._guard.stdin.write(line + "\n")
            self._guard.stdin.flush()


class _Process:
    """One service's process, and when to start it again."""

    def __init__(self, service: Service, logs: Path, grace: float, report: Say) -> None:
        self.name = service.name
        self._service = service
        self._log = logs / f"{service.name}.log"
        self._grace = grace
        self._report = report
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._delay = 0.0
        self._restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    def start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._service.arguments,
                env=environ | self._service.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._report(f"+{self._popen.pid}")
        self._started = time.monotonic()
        self._restart_at = None

    def wait_until_ready(self) -> float:
        """Wait for the health URL; the seconds it took."""
        while True:
            seconds = time.monotonic() - self._started
            if self._popen and self._popen.poll() is not None:
                raise self._failed(f"{self.name} stopped with code {self._popen.returncode}")
            if not self._service.health_url or _answers(self._service.health_url):
                return seconds
            if seconds > _START_SECONDS:
                raise self._failed(f"{self.name} was not ready after {_START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def revive(self) -> str:
        """Start it again if it crashed and its delay is over; what there is to tell."""
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self.start()
                return f"{self.name} was started again"
            return ""
        if self._popen is None or self._popen.poll() is None:
            return ""
        code = self._popen.returncode
        self.kill()
        steady = time.monotonic() - self._started > _STEADY_SECONDS
        self._delay = 1.0 if steady or not self._delay else min(self._delay * 2, _LONGEST_DELAY)
        self._restart_at = time.monotonic() + self._delay
        return f"{self.name} stopped with code {code}; starting it again in {self._delay:.0f} s"

    def terminate(self) -> bool:
        """Ask it to end. False if it is still there after the grace."""
        if self._popen is None:
            return True
        guard.send(self._popen.pid, SIGTERM)
        try:
            self._popen.wait(self._grace)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End what is left of its process group."""
        if self._popen is not None:
            guard.send(self._popen.pid, SIGKILL)
            self._popen.wait()
            self._report(f"-{self._popen.pid}")
            self._popen = None

    def _failed(self, message: str) -> Unavailable:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:])
        return Unavailable(
            f"{message}.",
            where={"log": str(self._log)},
            remedy=f"Its last lines were:\n{tail}",
        )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
