"""All services on free ports, as `pellucid up` runs them, for journeys and chaos."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from pellucid.client import Client
from pellucid.jobs.workspace import Workspace
from pellucid.settings import Settings
from pellucid.supervisor import Supervisor
from pellucid.supervisor.services import running
from support.ports import free_port

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Stack:
    settings: Settings
    client: Client
    supervisor: Supervisor

    @property
    def mlflow(self) -> MlflowClient:
        url = self.settings.resolved_mlflow_url
        return MlflowClient(tracking_uri=url, registry_uri=url)

    def workspace(self, job_id: str) -> Workspace:
        return Workspace(self.settings.home / "jobs" / job_id)

    def training_pids(self) -> list[int]:
        """The processes below the worker, which is none between its crash and its restart."""
        try:
            worker = psutil.Process(self.supervisor.pids()["worker"])
            return [child.pid for child in worker.children(recursive=True)]
        except (KeyError, psutil.NoSuchProcess):
            return []

    def runs(self, job_id: str) -> list[Any]:
        """The MLflow runs of a job, deleted ones left out."""
        experiment = self.mlflow.get_experiment_by_name(self.settings.experiment)
        assert experiment is not None
        return list(
            self.mlflow.search_runs(
                [experiment.experiment_id], f"tags.`pellucid.job_id` = '{job_id}'"
            )
        )


@contextmanager
def running_stack(home: Path, **settings: Any) -> Iterator[Stack]:
    chosen = Settings(home=home, port=free_port(), mlflow_port=free_port(), **settings)
    with running(chosen, print) as supervisor, Client(chosen.resolved_url) as client:
        yield Stack(chosen, client, supervisor)
