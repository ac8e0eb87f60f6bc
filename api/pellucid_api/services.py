"""Everything that the service holds, built once and handed to every request."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Self

from pellucid.cores import available_cores
from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database
from pellucid.jobs.queue import JobQueue
from pellucid.monitoring.feedback import labels
from pellucid.monitoring.feedback.intake import Feedback
from pellucid.monitoring.feedback.labels import LabelWriter
from pellucid.monitoring.feedback.truths import Truth
from pellucid.monitoring.writer import LogWriter, Retention
from pellucid.settings import Settings
from pellucid.tracking.contract import Registry
from pellucid_api.access import Note
from pellucid_api.auth import KeyRing
from pellucid_api.engine.answers import PredictionIds
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Limits
from pellucid_api.engine.shelf import usable_memory
from pellucid_api.plane.dataplane import DataPlane
from pellucid_api.plane.exchange import Codec, Reply
from pellucid_api.plane.explanations import Explanations
from pellucid_api.plane.http import Front
from pellucid_api.plane.invocations import InvocationsCodec
from pellucid_api.plane.rows import RowsCodec
from pellucid_api.plane.tensors import TensorsCodec
from pellucid_api.plane.traces import Traces
from pellucid_api.processes.siblings import Siblings
from pellucid_api.processes.slot import ALONE, Slot
from pellucid_api.recorder import LogRecorder

_COMPUTE_THREADS = 8


@dataclass(frozen=True)
class Services:
    """The database and what stands on it, the registry, and the models in memory."""

    settings: Settings
    database: Database
    datasets: DatasetStore
    queue: JobQueue
    registry: Registry
    pool: ModelPool
    plane: DataPlane
    rows: RowsCodec
    tensors: TensorsCodec
    invocations: InvocationsCodec
    siblings: Siblings
    labels: LabelWriter
    recorder: LogRecorder | None = None  # of the prediction log
    stopping: Event = field(default_factory=Event)  # set on SIGTERM: endless answers end

    @classmethod
    def build(
        cls, settings: Settings, registry: Registry | None = None, slot: Slot = ALONE
    ) -> Self:
        """Connect everything that the settings name; nothing is asked to answer yet.

        Args:
            settings: of the service.
            registry: of models; by default MLflow's.
            slot: of this process among several, which divide cores and memory.
        """
        if registry is None:
            from pellucid.tracking.mlflow import connect  # heavy

            _, registry = connect(settings)
        database = Database(settings.resolved_database_url)
        # Of inference alone: requests that wait for the database or MLflow take none of them.
        executor = ThreadPoolExecutor(_COMPUTE_THREADS, thread_name_prefix="inference")
        recorder = _recorder(settings)
        pool = _pool(settings, registry, slot)
        return cls(
            settings=settings,
            database=database,
            datasets=DatasetStore(settings.home, database, max_cell_bytes=settings.max_cell_bytes),
            queue=JobQueue(database, max_attempts=settings.max_attempts),
            registry=registry,
            pool=pool,
            plane=DataPlane(executor, PredictionIds(), recorder, traces=Traces.configured()),
            rows=RowsCodec(settings.max_rows),
            invocations=InvocationsCodec(settings.max_rows),
            tensors=TensorsCodec(settings.max_rows, settings.max_body_bytes),
            siblings=Siblings(slot, pool, recorder),
            labels=LabelWriter(settings.home / labels.DIRECTORY, settings.prediction_days),
            recorder=recorder,
        )

    @property
    def uploads(self) -> Path:
        """Where uploads lie while they arrive: on the disk that they will stay on."""
        return self.settings.home / "tmp"

    @property
    def prediction_log(self) -> Path:
        """Where predictions are recorded."""
        return _prediction_log(self.settings)

    @cached_property
    def feedback(self) -> Feedback:
        """Where labels are taken in."""
        return Feedback(
            self.prediction_log,
            self.settings.home / labels.DIRECTORY,
            self.labels,
            lambda model, version: Truth.of(self.pool.bundle(model, version).manifest),
            self.siblings.flush,
            self.settings.prediction_days,
        )

    @cached_property
    def explanations(self) -> Explanations:
        """Of predictions."""
        return Explanations(self.plane, self.rows)

    def start(self) -> None:
        """Follow the registry, and record predictions."""
        self.siblings.start()
        self.pool.start()
        if self.recorder is not None:
            self.recorder.start()

    def front(self, ring: KeyRing, note: Note | None = None) -> Front:
        """The data plane's front in the HTTP server."""
        codecs: dict[tuple[str, str], Codec[Reply]] = {
            ("v1", "predict"): self.rows,
            ("v1", "invocations"): self.invocations,
            ("v2", "infer"): self.tensors,
        }
        return Front(self.plane, self.pool, codecs, ring, self.settings.max_body_bytes, note)

    def close(self) -> None:
        """Stop following the registry, seal the prediction log and close the database."""
        self.siblings.close()
        self.pool.stop()
        self.plane.executor.shutdown()
        if self.recorder is not None:
            self.recorder.close()
        self.labels.close()
        if self.plane.traces is not None:
            self.plane.traces.close()
        self.database.close()


def _prediction_log(settings: Settings) -> Path:
    return settings.home / "predictions"


def _pool(settings: Settings, registry: Registry, slot: Slot) -> ModelPool:
    """Of models, with this process's share of the memory and the cores."""
    return ModelPool(
        registry,
        ModelCache(settings.home / "cache" / "models"),
        device=settings.device,
        poll_seconds=settings.alias_poll_seconds,
        memory=(settings.model_memory_bytes or usable_memory() // 2) // slot.count,
        limits=Limits(
            settings.max_batch_rows,
            settings.max_queue_seconds,
            settings.max_run_seconds,
            threads=max(1, available_cores() // slot.count),
            explanation_bytes=settings.explanation_cache_bytes,
            explain_early=settings.explain_early,
        ),
    )


def _recorder(settings: Settings) -> LogRecorder | None:
    if not settings.prediction_log:
        return None
    retention = Retention(
        settings.prediction_segment_seconds,
        settings.prediction_segment_rows,
        settings.prediction_days,
    )
    return LogRecorder(LogWriter(_prediction_log(settings), retention))
