"""What Prometheus scrapes: counters that are kept anyway, read when somebody asks.

Units are base units, and names say them. As in Triton, time in the queue and time in runs are told
apart, and so are requests, rows and runs: the mean batch is executed rows over runs. No label ever
holds what a request said. Of several serving processes, whichever is scraped answers for all.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import accumulate
from time import monotonic
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pellucid_api import oddities
from pellucid_api.engine.statistics import BOUNDS, REASONS, Counts, Histogram
from pellucid_api.processes.counts import Census, Version
from pellucid_api.watched import Watched, families

_MODEL = ["model", "version"]
_OUTCOMES = ("succeeded", *REASONS)
_FRESH, _PATIENCE = 5.0, 0.5  # seconds: that counts of jobs are kept, and waited for

Answer = TypeVar("Answer")


class Asked(Generic[Answer]):
    """Something asked of the database, every few seconds at most.

    Nobody waits long for a database that does not answer, and nobody asks it twice at once.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="asked")
        self._asked: Future[Answer] | None = None
        self._asked_at = -_FRESH

    def answer(self) -> Answer | None:
        """None while the database does not answer."""
        stale = monotonic() - self._asked_at > _FRESH
        if self._asked is None or (stale and self._asked.done()):
            self._asked = self._executor.submit(self._ask)
            self._asked_at = monotonic()
        try:
            return self._asked.result(_PATIENCE)
        except Exception:  # a scrape never fails because of the database
            return None

    def close(self) -> None:
        """Ask no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Jobs(Asked[dict[str, int]]):
    """The counts of jobs by status."""

    def counts(self) -> dict[str, int] | None:
        """By status; None while the database does not answer."""
        return self.answer()


class ServiceCollector(Collector):
    """The metrics of this service.

    Args:
        census: all of its processes.
        jobs: counted in the database.
        watched: what the monitor found; None: nobody asks.
    """

    def __init__(
        self,
        census: Callable[[], Census],
        jobs: Jobs,
        watched: Asked[Watched] | None = None,
    ) -> None:
        self._census, self._jobs, self._watched = census, jobs, watched

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register a collector is not to ask for its metrics."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        census = self._census()
        device = next((each.device for each in census.states.values() if each.device), "none")
        info = {"version": version("pellucid"), "device": device}
        yield InfoMetricFamily("pellucid_build", "The service's version and device.", value=info)
        yield from _inference(census)
        yield from _explanations(census)
        yield from _models(census)
        yield from oddities.families(census.done)
        yield from _surroundings(census, self._jobs.counts())
        yield from _processes(census)
        watched = self._watched.answer() if self._watched else None
        if watched is not None:
            yield from families(watched)


def _inference(census: Census) -> Iterator[Metric]:
    found = [(*key, each) for key, each in sorted(census.done.statistics.items())]
    requests = CounterMetricFamily(
        "pellucid_inference_requests",
        "Requests by how they ended: succeeded; invalid: they do not fit the model; failed: "
        "the model raised; refused: the queue was full; expired: their time was over before "
        "their turn; dropped: the client left before it.",
        labels=[*_MODEL, "outcome"],
    )
    yield _outcomes(requests, found)
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
    yield from _counted(counters, found)
    yield from _durations("inference", found)


def _explanations(census: Census) -> Iterator[Metric]:
    """Beside those of predictions, since they run beside them."""
    statistics = sorted(census.done.statistics.items())
    found = [(*key, each.explanations) for key, each in statistics]
    requests = CounterMetricFamily(
        "pellucid_explanation_requests",
        "Requests for explanations by how they ended, as pellucid_inference_requests.",
        labels=[*_MODEL, "outcome"],
    )
    yield _outcomes(requests, found)
    counters = {
        "pellucid_explanation_rows": ("Rows explained.", "rows"),
        "pellucid_explanation_executions": ("Runs of the graph that explains.", "executions"),
        "pellucid_explanation_executed_rows": ("Rows of all these runs.", "executed_rows"),
        "pellucid_explanation_cache_hits": ("Rows whose explanation was kept.", "hits"),
        "pellucid_explanation_cache_misses": ("Rows whose explanation was not.", "misses"),
        "pellucid_explanation_refined_rows": ("Rows run again with more steps.", "refined"),
        "pellucid_explanation_inexact_rows": (
            "Rows whose gap is above the tolerance none the less.",
            "inexact",
        ),
    }
    yield from _counted(counters, found)
    yield from _durations("explanation", found)


def _outcomes(family: CounterMetricFamily, found: Sequence[tuple[str, int, Counts]]) -> Metric:
    for name, number, counts in found:
        for outcome in _OUTCOMES:
            family.add_metric([name, str(number), outcome], getattr(counts, outcome))
    return family


def _durations(kind: str, found: Sequence[tuple[str, int, Counts]]) -> Iterator[Metric]:
    yield _histogram(
        f"pellucid_{kind}_request_duration_seconds",
        "From a request's arrival to its answer, of those that succeeded.",
        ((name, number, each.latency) for name, number, each in found),
    )
    yield _histogram(
        f"pellucid_{kind}_queue_duration_seconds",
        "From a request's arrival to the run that it is part of.",
        ((name, number, each.queue) for name, number, each in found),
    )
    yield _histogram(
        f"pellucid_{kind}_compute_duration_seconds",
        "Of each run.",
        ((name, number, each.compute) for name, number, each in found),
    )


def _counted(
    counters: Mapping[str, tuple[str, str]], found: Sequence[tuple[str, int, Counts]]
) -> Iterator[Metric]:
    for title, (help_, field) in counters.items():
        counter = CounterMetricFamily(title, help_, labels=_MODEL)
        for name, number, counts in found:
            counter.add_metric([name, str(number)], getattr(counts, field))
        yield counter


def _models(census: Census) -> Iterator[Metric]:
    done, states = census.done, census.states.values()
    loaded = GaugeMetricFamily(
        "pellucid_model_loaded",
        "Processes that have the version in memory.",
        labels=[*_MODEL, "device"],
    )
    waiting = GaugeMetricFamily(
        "pellucid_inference_waiting_rows", "Rows in the version's queue.", labels=_MODEL
    )
    held = Counter((*key, device) for each in states for key, device in each.loaded.items())
    for (name, number, device), count in sorted(held.items()):
        loaded.add_metric([name, str(number), device], count)
    rows: Counter[Version] = Counter()
    for state in states:
        rows.update(state.waiting)
    for (name, number), count in sorted(rows.items()):
        waiting.add_metric([name, str(number)], count)
    champion = GaugeMetricFamily(
        "pellucid_model_champion_version", "The version that answers.", labels=["model"]
    )
    for name, number in sorted(next(iter(states)).champions.items()):
        champion.add_metric([name], number)
    yield from (loaded, waiting, champion)
    yield _by_model("pellucid_model_loads", "Versions loaded.", done.loads)
    yield _by_model("pellucid_model_load_failures", "Failed loads.", done.load_failures)
    yield GaugeMetricFamily(
        "pellucid_model_memory_bytes",
        "Taken by versions, as estimated.",
        sum(each.memory for each in states),
    )
    yield CounterMetricFamily(
        "pellucid_model_evictions", "Versions evicted for others.", done.evictions
    )


def _surroundings(census: Census, jobs: dict[str, int] | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "pellucid_ready",
        "1 if predictions are served as the settings say.",
        not census.obstacle(),
    )
    yield GaugeMetricFamily(
        "pellucid_registry_up",
        "1 if the registry answered last.",
        not any(each.registry_error for each in census.states.values()),
    )
    yield GaugeMetricFamily(
        "pellucid_database_up", "1 if the database answered last.", jobs is not None
    )
    if jobs is not None:
        table = GaugeMetricFamily("pellucid_jobs", "Jobs in the table.", labels=["status"])
        yield _tallied(table, jobs)
    if census.done.logged:
        rows = CounterMetricFamily(
            "pellucid_prediction_log_rows",
            "Answered rows by what became of them; lost ones could not be written.",
            labels=["outcome"],
        )
        yield _tallied(rows, census.done.logged)
    labels = CounterMetricFamily(
        "pellucid_feedback_labels", "Labels received, by what became of them.", labels=["answer"]
    )
    yield _tallied(labels, census.done.labels)
    yield CounterMetricFamily(
        "pellucid_access_log_lost_lines", "That could not be written.", census.done.lost_lines
    )


def _tallied(family: GaugeMetricFamily | CounterMetricFamily, counts: Mapping[str, int]) -> Metric:
    """A family of one label, with a count for each of its values."""
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _processes(census: Census) -> Iterator[Metric]:
    answers = GaugeMetricFamily(
        "pellucid_process_up",
        "1 for each serving process that answered. Of one that did not, counters are as they were "
        "a second before at the latest, and gauges leave it out.",
        labels=["process"],
    )
    for number in sorted([*census.states, *census.missing]):
        answers.add_metric([str(number)], number in census.states)
    yield answers
    if len(census.states) + len(census.missing) > 1:
        yield from _each(census)


def _each(census: Census) -> Iterable[Metric]:
    """What `ProcessCollector` tells of one process, of each, with the label `process`."""
    found: dict[str, Metric] = {}
    for number, state in census.states.items():
        label = {"process": str(number)}
        one = ProcessCollector(pid=functools.partial(int, state.pid), registry=None)
        for metric in one.collect():
            family = found.setdefault(
                metric.name, Metric(metric.name, metric.documentation, metric.type)
            )
            for sample in metric.samples:
                family.add_sample(sample.name, sample.labels | label, sample.value)
    return found.values()


def registry_of(collector: Collector, *, alone: bool = True) -> CollectorRegistry:
    """A registry with the collector; with the metrics of this process, if it is the only one."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if alone:
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
