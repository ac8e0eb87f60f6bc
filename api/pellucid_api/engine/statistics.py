"""What the served versions have done, counted where it happens and read by whoever asks.

Counters are plain numbers that only grow. The event loop and the threads of runs add to different
ones, so none is locked; a reader may see one a moment before another.
"""

import time
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Self

from pellucid.resources.models import Quantiles

# Seconds: upper bounds of the histograms' buckets, from 100 us to 10 s.
BOUNDS = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

REASONS = ("invalid", "failed", "refused", "expired", "dropped")  # not to succeed
_KEPT = 100  # versions of a model that are not in memory any more


@dataclass(slots=True)
class Histogram:
    """Counts by bucket (the last: beyond all bounds), and the sum, of observations in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def __add__(self, other: "Histogram") -> "Histogram":
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, self.total + other.total)

    def quantile(self, share: float) -> float | None:
        """An estimate of the quantile, in seconds; None before the first observation.

        Observations are taken to be spread evenly within their bucket, as Prometheus'
        `histogram_quantile` does; what lies beyond all bounds counts as the last bound.

        Args:
            share: of the observations that are no larger, from 0 to 1.
        """
        counts = list(self.counts)
        sums = list(accumulate(counts))
        if not sums[-1]:
            return None
        rank = share * sums[-1]
        bucket = min(bisect_left(sums, rank), len(BOUNDS))
        while not counts[bucket]:  # of share 0 only
            bucket += 1
        if bucket == len(BOUNDS):
            return BOUNDS[-1]
        low = BOUNDS[bucket - 1] if bucket else 0.0
        within = (rank - (sums[bucket] - counts[bucket])) / counts[bucket]
        return low + (BOUNDS[bucket] - low) * within

    def quantiles(self) -> Quantiles | None:
        """The usual ones; None before the first observation."""
        p50, p90, p99 = (self.quantile(share) for share in (0.5, 0.9, 0.99))
        if p50 is None or p90 is None or p99 is None:
            return None
        return Quantiles(p50=p50, p90=p90, p99=p99)


@dataclass(slots=True)
class Counts:
    """What became of requests of one kind to one version, and how long they took.

    Every request ends as exactly one of: succeeded, invalid, failed, refused, expired, dropped.
    """

    succeeded: int = 0  # requests
    invalid: int = 0  # requests that do not fit the model
    failed: int = 0  # requests that the model, or the service, raised on
    refused: int = 0  # requests over the bound of the queue
    expired: int = 0  # requests whose time was over before their turn
    dropped: int = 0  # requests whose client went away before their turn
    rows: int = 0  # answered
    executions: int = 0
    executed_rows: int = 0
    latency: Histogram = field(default_factory=Histogram)  # received to answered
    queue: Histogram = field(default_factory=Histogram)  # received to run
    compute: Histogram = field(default_factory=Histogram)  # of each run
    since: float = field(default_factory=time.time)  # since 1970-01-01 UTC
    last: float = 0.0  # answer, since 1970-01-01 UTC; 0 is none yet

    def __add__(self, other: Self) -> Self:
        found = type(self)(since=min(self.since, other.since), last=max(self.last, other.last))
        for name in self.__dataclass_fields__.keys() - {"since", "last"}:
            setattr(found, name, getattr(self, name) + getattr(other, name))
        return found

    @property
    def errors(self) -> dict[str, int]:
        """Requests that did not succeed, by reason."""
        return {reason: getattr(self, reason) for reason in REASONS}

    @property
    def requests(self) -> int:
        """All that have ended."""
        return self.succeeded + sum(self.errors.values())

    def ran(self, rows: int, seconds: float) -> None:
        """Count a run."""
        self.executions += 1
        self.executed_rows += rows
        self.compute.observe(seconds)

    def answered(self, rows: int, queued: float | None, seconds: float) -> None:
        """Count a request that was answered, after it was queued for so long, if it was at all."""
        self.succeeded += 1
        self.rows += rows
        self.last = time.time()
        if queued is not None:
            self.queue.observe(queued)
        self.latency.observe(seconds)


@dataclass(slots=True)
class Explanations(Counts):
    """Of requests for explanations."""

    hits: int = 0  # rows whose explanation was still known
    misses: int = 0  # rows that were not
    refined: int = 0  # rows run again with more steps
    inexact: int = 0  # rows whose gap is above the tolerance none the less


@dataclass(slots=True)
class Statistics(Counts):
    """Of one version since it was first loaded in this process: of predictions, but for the last.

    A prediction that is explained counts as an explanation.
    """

    explanations: Explanations = field(default_factory=Explanations)


class Ledger:
    """The statistics of the versions that were loaded in this process.

    They outlive the version in memory: one that is loaded again counts on, so that no counter
    goes backwards. Of the versions of a model that are not in memory, those loaded last are kept.
    """

    def __init__(self) -> None:
        # In the order of loading; replaced whole, so reading needs no lock.
        self._statistics: dict[tuple[str, int], Statistics] = {}
        self.loads: dict[str, int] = {}  # by model
        self.load_failures: dict[str, int] = {}

    def of(self, name: str, version: int, present: Collection[int] = ()) -> Statistics:
        """Of a version; it counts as loaded once more.

        Args:
            name: of the model.
            version: of it.
            present: its versions in memory, of which nothing is forgotten.
        """
        self.loads[name] = self.loads.get(name, 0) + 1
        kept = self._statistics.copy()
        found = kept.pop((name, version), None) or Statistics()
        absent = [key for key in kept if key[0] == name and key[1] not in present]
        for key in absent[:-_KEPT]:
            del kept[key]
        self._statistics = {**kept, (name, version): found}
        return found

    def failed(self, name: str) -> None:
        """Count a version of the model that could not be loaded."""
        self.load_failures[name] = self.load_failures.get(name, 0) + 1

    def all(self) -> list[tuple[str, int, Statistics]]:
        """Name, version and statistics, in this order."""
        found = self._statistics
        return [(*key, found[key]) for key in sorted(found)]
