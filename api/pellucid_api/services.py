"""Everything that the service holds, built once and handed to every request."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Self

from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database
from pellucid.jobs.queue import JobQueue
from pellucid.settings import Settings
from pellucid.tracking.contract import Registry
from pellucid_api.auth import KeyRing
from pellucid_api.engine.answers import PredictionIds
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Limits
from pellucid_api.plane.dataplane import DataPlane
from pellucid_api.plane.exchange import Codec, Reply
from pellucid_api.plane.http import Front
from pellucid_api.plane.rows import RowsCodec
from pellucid_api.plane.tensors import TensorsCodec

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
    stopping: Event = field(default_factory=Event)  # set on SIGTERM: endless answers end

    @classmethod
    def build(cls, settings: Settings, registry: Registry | None = None) -> Self:
        """Connect everything that the settings name; nothing is asked to answer yet."""
        if registry is None:
            from pellucid.tracking.mlflow import connect  # heavy

            _, registry = connect(settings)
        database = Database(settings.resolved_database_url)
        # Of inference alone: requests that wait for the database or MLflow take none of them.
        executor = ThreadPoolExecutor(_COMPUTE_THREADS, thread_name_prefix="inference")
        return cls(
            settings=settings,
            database=database,
            datasets=DatasetStore(settings.home, database, max_cell_bytes=settings.max_cell_bytes),
            queue=JobQueue(database, max_attempts=settings.max_attempts),
            registry=registry,
            pool=ModelPool(
                registry,
                ModelCache(settings.home / "cache" / "models"),
                device=settings.device,
                poll_seconds=settings.alias_poll_seconds,
                executor=executor,
                limits=Limits(settings.max_batch_rows, settings.max_queue_seconds),
            ),
            plane=DataPlane(executor, PredictionIds()),
            rows=RowsCodec(settings.max_rows),
            tensors=TensorsCodec(settings.max_rows),
        )

    @property
    def uploads(self) -> Path:
        """Where uploads lie while they arrive: on the disk that they will stay on."""
        return self.settings.home / "tmp"

    def front(self, ring: KeyRing) -> Front:
        """The data plane's front in the HTTP server."""
        codecs: dict[tuple[str, str], Codec[Reply]] = {
            ("v1", "predict"): self.rows,
            ("v2", "infer"): self.tensors,
        }
        return Front(self.plane, self.pool, codecs, ring, self.settings.max_body_bytes)

    def close(self) -> None:
        """Stop following the registry and close the database."""
        self.pool.stop()
        self.plane.executor.shutdown()
        self.database.close()
