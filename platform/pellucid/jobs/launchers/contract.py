"""What we ask of a launcher."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Process(Protocol):
    """A process that a launcher started, and everything that it started itself."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, or None while it runs."""
        ...

    def terminate(self, grace: float) -> None:
        """End it and all of its own: SIGTERM, `grace` seconds, SIGKILL. Again is no error."""
        ...


class Launcher(Protocol):
    """Starts training processes."""

    def start(self, arguments: Sequence[str], *, log: Path, mark: str) -> Process:
        """Start a process whose output is appended to `log`.

        It ends when the thread that started it does, however that ends. `mark` says whose it is.
        """
        ...

    def end_leftovers(self, mark: str) -> int:
        """Kill whatever still runs under this mark here; the number of processes killed."""
        ...
