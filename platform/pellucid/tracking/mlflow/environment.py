"""How MLflow's client is to behave; it reads this from the process's environment only."""

import os

from pellucid.settings import Settings

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # its default keeps a caller waiting for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def prepare_environment(settings: Settings) -> None:
    """Set MLflow's variables, before it is imported. What the user has set is left alone.

    Our callers retry by themselves, so a call is tried once and answers within seconds.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if settings.mlflow_username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
    if settings.mlflow_password:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password
