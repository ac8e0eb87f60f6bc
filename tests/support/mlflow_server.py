"""A real MLflow server for tests, which can be stopped, killed and started again."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from pellucid.tracking.server import mlflow_server
from support.ports import free_port


class MlflowServer:
    """`with MlflowServer(tmp_path) as server: server.url`; its own process group, gone at the end.

    The port and the store stay the same over `stop`, `kill` and `start`.
    """

    def __init__(self, directory: Path, *, store: str = "", workers: int = 1) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = directory / "mlflow.log"
        self._directory = directory
        self._store = store or f"sqlite:///{directory / 'mlflow.db'}"
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 180.0) -> Self:
        """Start it and wait until it answers."""
        command = mlflow_server(
            self._store,
            str(self._directory / "artifacts"),
            port=self.port,
            workers=self._workers,
        )
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command.arguments,
                env=os.environ | command.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not self.is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"MLflow did not start:\n{self.log_path.read_text()[-4000:]}")
            time.sleep(0.1)
        return self

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Ask it to end (SIGTERM), then make it."""
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        """SIGKILL the whole group: no goodbye."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it: connections are taken, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Kill it and start it again on the same store."""
        self.kill()
        return self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
