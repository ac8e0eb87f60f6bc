"""The tracker and registry of an MLflow server; MLflow is imported only in this package."""

from typing import TYPE_CHECKING

from pellucid.settings import Settings
from pellucid.tracking.mlflow.environment import prepare_environment

if TYPE_CHECKING:
    from pellucid.tracking.mlflow.registry import MlflowRegistry
    from pellucid.tracking.mlflow.runs import MlflowTracker


def connect(settings: Settings) -> "tuple[MlflowTracker, MlflowRegistry]":
    """The tracker and the registry at `settings.resolved_mlflow_url`; no request is made yet.

    MLflow takes seconds to import: that is paid here, not on import of this module.
    """
    prepare_environment(settings)
    from mlflow import MlflowClient

    from pellucid.tracking.mlflow.registry import MlflowRegistry
    from pellucid.tracking.mlflow.runs import MlflowTracker

    url = settings.resolved_mlflow_url
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    return MlflowTracker(client, settings.experiment), MlflowRegistry(client)
