"""Everything that the service holds, built once and handed to every request."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Self

from anyio import CapacityLimiter

from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database
from pellucid.jobs.queue import JobQueue
from pellucid.settings import Settings
from pellucid.tracking.contract import Registry
from pellucid_api.engine.answers import PredictionIds
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.pool import ModelPool

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
    ids: PredictionIds = field(default_factory=PredictionIds)
    stopping: Event = field(default_factory=Event)  # set on SIGTERM: endless answers end
    # Threads of inference alone: requests that wait for the database or MLflow take none of them.
    compute: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_COMPUTE_THREADS))

    @classmethod
    def build(cls, settings: Settings, registry: Registry | None = None) -> Self:
        """Connect everything that the settings name; nothing is asked to answer yet."""
        if registry is None:
            from pellucid.tracking.mlflow import connect  # heavy

            _, registry = connect(settings)
        database = Database(settings.resolved_database_url)
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
            ),
        )

    @property
    def uploads(self) -> Path:
        """Where uploads lie while they arrive: on the disk that they will stay on."""
        return self.settings.home / "tmp"

    def close(self) -> None:
        """Stop following the registry and close the database."""
        self.pool.stop()
        self.database.close()
