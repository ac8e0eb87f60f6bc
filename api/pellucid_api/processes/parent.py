"""The parent of several serving processes: it starts them, starts them again, and ends them."""

import logging
import multiprocessing
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from pellucid.errors import Unavailable
from pellucid.settings import Settings
from pellucid_api.processes.child import Build, run
from pellucid_api.processes.slot import Slot, reserve

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 25.0  # longer than a process takes at most to let open requests finish
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0  # before a process that ended is started again
_STEADY_SECONDS = 60.0  # up this long, it starts over with the shortest delay

Start = Callable[[int], tuple[SpawnProcess, Connection]]

logger = logging.getLogger(__name__)


def serve_with(settings: Settings, count: int, build: Build | None = None) -> None:
    """Serve with so many processes until SIGTERM or Ctrl-C, and let them finish what they do.

    Args:
        settings: the same for all; a port of 0 is one that is free.
        count: of processes, 2 or more.
        build: makes the services of each; tests give their own.

    Raises:
        InvalidSettings: a port is taken.
        Unavailable: no process could start.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(reserve(settings.host, settings.port, "port"))]
        settings = settings.model_copy(update={"port": sockets[0].getsockname()[1]})
        if settings.grpc_port:
            held.enter_context(reserve(settings.host, settings.grpc_port, "grpc_port"))
        # The path of a Unix socket has some 100 characters: that of PELLUCID_HOME may be longer.
        folder = Path(tempfile.mkdtemp(prefix="pellucid-api-"))
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        spawn = multiprocessing.get_context("spawn")

        def start(number: int) -> tuple[SpawnProcess, Connection]:
            ours, theirs = spawn.Pipe()
            slot = Slot(number, count, folder)
            name = f"pellucid-api-{number}"
            process = spawn.Process(target=run, args=(settings, slot, theirs, build), name=name)
            process.start()
            theirs.close()
            return process, ours

        Parent(start, count).run()


@dataclass
class _Child:
    """The process in one slot, and when to start it again."""

    number: int
    start: Start
    process: SpawnProcess | None = None
    link: Connection | None = None
    serves: bool = False  # it has taken requests
    started: float = 0.0
    delay: float = 0.0
    due: float = 0.0  # when to start it

    def look(self) -> int | None:
        """Start it if that is due, and see how it does. Its exit code, once, if it has ended."""
        if self.process is None:
            if time.monotonic() >= self.due:
                self.started = time.monotonic()
                self.process, self.link = self.start(self.number)
            return None
        if not self.serves and _told(self.link):
            self.serves = True
            took = time.monotonic() - self.started
            logger.info("serving process %d is ready (%.1f s)", self.number, took)
        return self.process.exitcode

    def postpone(self) -> float:
        """Let what has ended be started again after a delay, which grows; the seconds."""
        steady = time.monotonic() - self.started > _STEADY_SECONDS
        first = steady or not self.delay
        self.delay = _FIRST_DELAY if first else min(self.delay * 2, _LONGEST_DELAY)
        self.due = time.monotonic() + self.delay
        if self.link is not None:
            self.link.close()
        self.process, self.link, self.serves = None, None, False
        return self.delay


def _told(link: Connection | None) -> bool:
    try:
        return link is not None and link.poll() and link.recv() is None
    except (EOFError, OSError):  # it is about to end
        return False


class Parent:
    """Keeps processes running.

    Args:
        start: starts the process of a number; it sends something once it takes requests.
        count: of processes.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, start: Start, count: int, grace: float = _GRACE_SECONDS) -> None:
        self._children = [_Child(number, start) for number in range(count)]
        self._grace = grace
        self._asked = 0  # how often to end

    def run(self) -> None:
        """Run until SIGTERM, SIGHUP or Ctrl-C; a second one ends all processes at once.

        Raises:
            Unavailable: a process ended before it served, and no other one serves.
        """
        with self._signals():
            try:
                while not self._asked:
                    for child in self._children:
                        self._look(child)
                    time.sleep(_POLL_SECONDS)
            finally:
                self._end()

    def _look(self, child: _Child) -> None:
        code = child.look()
        if code is None or self._asked:
            return
        if not any(each.serves for each in self._children):
            raise Unavailable(
                f"Serving process {child.number} ended with code {code} before it served.",
                remedy="Its last lines, above, say why.",
            )
        delay = child.postpone()
        text = "serving process %d ended with code %d; it is started again in %.0f s"
        logger.error(text, child.number, code, delay)

    def _end(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._grace
        for process in running:
            while process.is_alive() and time.monotonic() < deadline and self._asked < 2:
                process.join(_POLL_SECONDS)
        for process in running:
            if process.is_alive():
                logger.error("%s did not end in time and is killed", process.name)
                process.kill()
            process.join()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked += 1
