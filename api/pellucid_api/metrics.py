"""What Prometheus scrapes: counters that are kept anyway, read when somebody asks.

Units are base units, and names say them. As in Triton, time in the queue and time in runs are told
apart, and so are requests, rows and runs: the mean batch is executed rows over runs. No label ever
holds what a request said.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import accumulate
from time import monotonic
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.statistics import BOUNDS, REASONS, Histogram

_MODEL = ["model", "version"]
_OUTCOMES = ("succeeded", *REASONS)
_FRESH, _PATIENCE = 5.0, 0.5  # seconds: that counts of jobs are kept, and waited for

Count = Callable[[], dict[str, int]]


@runtime_checkable
class Recorder(Protocol):
    """The prediction log's counters, of rows."""

    recorded: int

    @property
    def lost(self) -> int:
        """Answered, and not in the log."""
        ...


class Jobs:
    """The counts of jobs by status, asked of the database every few seconds at most.

    Nobody waits long for a database that does not answer, and nobody asks it twice at once.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="job-counts")
        self._asked: Future[dict[str, int]] | None = None
        self._asked_at = -_FRESH

    def counts(self) -> dict[str, int] | None:
        """By status; None while the database does not answer."""
        stale = monotonic() - self._asked_at > _FRESH
        if self._asked is None or (stale and self._asked.done()):
            self._asked = self._executor.submit(self._count)
            self._asked_at = monotonic()
        try:
            return self._asked.result(_PATIENCE)
        except Exception:  # a scrape never fails because of the database
            return None

    def close(self) -> None:
        """Ask no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class ServiceCollector(Collector):
    """The metrics of this service.

    Args:
        pool: of models.
        jobs: counted in the database.
        recorder: of the prediction log, if there is one that counts.
        lost_lines: how many lines of the access log were lost.
    """

    def __init__(
        self,
        pool: ModelPool,
        jobs: Jobs,
        recorder: object = None,
        lost_lines: Callable[[], int] = lambda: 0,
    ) -> None:
        self._pool, self._jobs = pool, jobs
        self._recorder, self._lost_lines = recorder, lost_lines

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register a collector is not to ask for its metrics."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        info = {"version": version("pellucid"), "device": self._pool.device or "none"}
        yield InfoMetricFamily("pellucid_build", "The service's version and device.", value=info)
        yield from self._inference()
        yield from self._models()
        yield from self._surroundings()

    def _inference(self) -> Iterator[Metric]:
        found = self._pool.ledger.all()
        requests = CounterMetricFamily(
            "pellucid_inference_requests",
            "Requests by how they ended: succeeded; invalid: they do not fit the model; failed: "
            "the model raised; refused: the queue was full; expired: their time was over before "
            "their turn; dropped: the client left before it.",
            labels=[*_MODEL, "outcome"],
        )
        for name, number, statistics in found:
            for outcome in _OUTCOMES:
                requests.add_metric([name, str(number), outcome], getattr(statistics, outcome))
        yield requests
        counters = {
            "pellucid_inference_rows": ("Rows answered.", "rows"),
            "pellucid_inference_executions": (
                "Runs of the model, of one batch each.",
                "executions",
            ),
            "pellucid_inference_executed_rows": (
                "Rows of all runs; over the runs: the mean batch.",
                "executed_rows",
            ),
        }
        for title, (help_, field) in counters.items():
            counter = CounterMetricFamily(title, help_, labels=_MODEL)
            for name, number, statistics in found:
                counter.add_metric([name, str(number)], getattr(statistics, field))
            yield counter
        yield _histogram(
            "pellucid_inference_request_duration_seconds",
            "From a request's arrival to its answer, of those that succeeded.",
            ((name, number, each.latency) for name, number, each in found),
        )
        yield _histogram(
            "pellucid_inference_queue_duration_seconds",
            "From a request's arrival to the run that it is part of.",
            ((name, number, each.queue) for name, number, each in found),
        )
        yield _histogram(
            "pellucid_inference_compute_duration_seconds",
            "Of each run.",
            ((name, number, each.compute) for name, number, each in found),
        )

    def _models(self) -> Iterator[Metric]:
        pool = self._pool
        loaded = GaugeMetricFamily(
            "pellucid_model_loaded", "1 for each version in memory.", labels=[*_MODEL, "device"]
        )
        waiting = GaugeMetricFamily(
            "pellucid_inference_waiting_rows", "Rows in the version's queue.", labels=_MODEL
        )
        for served in pool.shelf.served():
            labels = [served.name, str(served.version)]
            loaded.add_metric([*labels, served.model.device], 1)
            waiting.add_metric(labels, served.batcher.waiting)
        champion = GaugeMetricFamily(
            "pellucid_model_champion_version", "The version that answers.", labels=["model"]
        )
        for served in pool.champions():
            champion.add_metric([served.name], served.version)
        yield from (loaded, waiting, champion)
        yield _by_model("pellucid_model_loads", "Versions loaded.", pool.ledger.loads)
        yield _by_model("pellucid_model_load_failures", "Failed loads.", pool.ledger.load_failures)
        yield GaugeMetricFamily(
            "pellucid_model_memory_bytes", "Taken by versions, as estimated.", pool.shelf.size
        )
        yield CounterMetricFamily(
            "pellucid_model_evictions", "Versions evicted for others.", pool.shelf.evictions
        )

    def _surroundings(self) -> Iterator[Metric]:
        pool, jobs = self._pool, self._jobs.counts()
        yield GaugeMetricFamily(
            "pellucid_ready",
            "1 if predictions are served as the settings say.",
            not pool.obstacle(),
        )
        yield GaugeMetricFamily(
            "pellucid_registry_up", "1 if the registry answered last.", not pool.registry_error
        )
        yield GaugeMetricFamily(
            "pellucid_database_up", "1 if the database answered last.", jobs is not None
        )
        if jobs is not None:
            gauge = GaugeMetricFamily("pellucid_jobs", "Jobs in the table.", labels=["status"])
            for status, count in jobs.items():
                gauge.add_metric([status], count)
            yield gauge
        if isinstance(self._recorder, Recorder):
            rows = CounterMetricFamily(
                "pellucid_prediction_log_rows",
                "Answered rows by what became of them; lost ones could not be written.",
                labels=["outcome"],
            )
            rows.add_metric(["recorded"], self._recorder.recorded)
            rows.add_metric(["lost"], self._recorder.lost)
            yield rows
        yield CounterMetricFamily(
            "pellucid_access_log_lost_lines", "That could not be written.", self._lost_lines()
        )


def registry_of(collector: Collector) -> CollectorRegistry:
    """A registry with the collector, and with the metrics of the process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _by_model(title: str, help_: str, counts: dict[str, int]) -> Metric:
    counter = CounterMetricFamily(title, help_, labels=["model"])
    for name, count in sorted(counts.items()):
        counter.add_metric([name], count)
    return counter


def _histogram(
    title: str, help_: str, found: Iterable[tuple[str, int, Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(title, help_, labels=_MODEL)
    bounds = [*map(repr, BOUNDS), "+Inf"]
    for name, number, histogram in found:
        sums = accumulate(histogram.counts)
        family.add_metric(
            [name, str(number)], list(zip(bounds, sums, strict=True)), histogram.total
        )
    return family
