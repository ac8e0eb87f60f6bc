"""A service of several processes with one registry: `python -m support.many`, see `many`."""

import functools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.processes.parent import serve_with
from pellucid_api.processes.slot import Slot

if TYPE_CHECKING:
    from pellucid_api.services import Services

TESTS = Path(__file__).parents[1]
KEY = b"of these tests"
_TRACKERS: list[MemoryTracker] = []


def _tracker(directory: str) -> MemoryTracker:
    if not _TRACKERS:
        _TRACKERS.append(MemoryTracker(Path(directory)))
    return _TRACKERS[0]


class Registries(BaseManager):
    """A process that holds a registry in memory, for all processes that ask it."""


Registries.register("tracker", _tracker)


def build(address: tuple[str, int], directory: str, settings: Settings, slot: Slot) -> "Services":
    """The services of one process, with the registry of all."""
    from pellucid_api.services import Services  # heavy, and of no use to the other processes

    manager: Any = Registries(address, KEY)
    manager.connect()
    return Services.build(settings, manager.tracker(directory), slot)


@dataclass(frozen=True)
class Many:
    """The service, from outside."""

    settings: Settings
    parent: "subprocess.Popen[str]"
    log: Path

    def pids(self) -> list[int]:
        """Of the serving processes."""
        found = []
        for child in psutil.Process(self.parent.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie is none either
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own, so that any process may take it.

        What went to a process that was dying is sent again, as clients do.
        """
        while True:
            try:
                return httpx.request(
                    method, f"{self.settings.resolved_url}{path}", timeout=60, **options
                )
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                assert self.parent.poll() is None, self.log.read_text(encoding="utf-8")

    def by_each(self, method: str, path: str, **options: Any) -> list[httpx.Response]:
        """An answer of every process, and more than one of some."""
        found: list[httpx.Response] = []
        deadline = time.monotonic() + 180
        while len({process_of(each) for each in found}) < self.settings.api_processes:
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
            found.append(self.send(method, path, **options))
        return found


def process_of(response: httpx.Response) -> str:
    """What the ids of one process's requests have in common."""
    return response.headers["x-request-id"].partition("-")[0]


@contextmanager
def registry_of_all(directory: Path) -> Iterator[tuple[Any, tuple[str, int]]]:
    """A registry for any process, and its address."""
    manager: Any = Registries(("127.0.0.1", 0), KEY, ctx=multiprocessing.get_context("spawn"))
    manager.start()
    try:
        yield manager.tracker(str(directory)), manager.address
    finally:
        manager.shutdown()


@contextmanager
def many(settings: Settings, directory: Path, address: tuple[str, int]) -> Iterator[Many]:
    """The service of so many processes as the settings say, until the end of the block."""
    from pellucid.db.upgrade import upgrade

    upgrade(settings.resolved_database_url)
    log = settings.home / "api.log"
    with (
        log.open("w", encoding="utf-8") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "support.many", json.dumps([address, str(directory)])],
            cwd=TESTS,
            env=os.environ | settings.environment() | {"OMP_NUM_THREADS": "1"},
            stderr=stream,
            text=True,
        ) as parent,
    ):
        found = Many(settings, parent, log)
        try:
            found.by_each("GET", "/v2/health/ready")
            yield found
        finally:
            parent.terminate()
            parent.wait(60)


def main() -> None:
    from pellucid.logs import configure_logging
    from support.many import build as importable

    address, directory = json.loads(sys.argv[1])
    settings = Settings.load()
    configure_logging()
    made = functools.partial(importable, tuple(address), directory)
    serve_with(settings, settings.api_processes, made)


if __name__ == "__main__":
    main()
