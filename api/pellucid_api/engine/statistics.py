"""What one served version has done, counted where it happens and read by whoever asks.

Counters are plain numbers that only grow. The event loop and the threads of runs add to different
ones, so none is locked; a reader may see one a moment before another.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

# Seconds: upper bounds of the histograms' buckets, from 100 us to 10 s.
BOUNDS = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


@dataclass(slots=True)
class Histogram:
    """Counts by bucket (the last: beyond all bounds), and the sum, of observations in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Statistics:
    """Of one version since it was loaded."""

    succeeded: int = 0  # requests
    failed: int = 0  # requests that the model raised on
    refused: int = 0  # requests over the bound of the queue
    dropped: int = 0  # requests whose client went away or whose time was over
    rows: int = 0  # answered
    executions: int = 0
    executed_rows: int = 0
    latency: Histogram = field(default_factory=Histogram)  # received to answered
    queue: Histogram = field(default_factory=Histogram)  # received to run
    compute: Histogram = field(default_factory=Histogram)  # of each run

    def ran(self, rows: int, seconds: float) -> None:
        """Count a run."""
        self.executions += 1
        self.executed_rows += rows
        self.compute.observe(seconds)

    def answered(self, rows: int, queued: float, seconds: float) -> None:
        """Count a request that was answered."""
        self.succeeded += 1
        self.rows += rows
        self.queue.observe(queued)
        self.latency.observe(seconds)
