"""How much is measured, and where things are."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Scale:
    """What `monitoring.py` was asked for.

    Args:
        size: of large tables, relative to what is promised.
        years: simulated for each size of windows.
        processes: simulations at once.
        data: where the shared data sets are.
        environments: where peers are installed.
    """

    size: float
    years: int
    processes: int
    data: Path
    environments: Path

    def rows(self, full: int, least: int = 1000) -> int:
        """A number of rows that is `full` at full size."""
        return max(least, round(full * self.size))

    def map(self, run: Callable[[Given], Found], given: Iterable[Given]) -> Iterator[Found]:
        """Simulations, each with a process's core to itself; in any process the same result."""
        if self.processes == 1:
            yield from map(run, given)
            return
        with ProcessPoolExecutor(self.processes, get_context("spawn")) as pool:
            yield from pool.map(run, given)
