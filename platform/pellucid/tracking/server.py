"""How an MLflow server of ours is started; MLflow itself is not imported here."""

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import make_url

# Of this server we use tracking, the registry and artifacts; it is to run no jobs of its own and
# to report to nobody.
ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class Command(NamedTuple):
    """A command line, and what to add to the environment it runs in."""

    arguments: list[str]
    environment: dict[str, str]


def mlflow_server(
    store: str,
    artifacts: str,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    workers: int = 1,
    allowed_hosts: Sequence[str] = (),
) -> Command:
    """The command that serves MLflow's API and UI, with artifacts passing through the server.

    Start it in a process group of its own and signal the whole group: a killed parent leaves its
    workers behind.

    Args:
        store: SQLAlchemy URL of the backend store. A SQLite file is made here, in WAL mode, which
            MLflow itself does not do: readers then never wait for a writer.
        artifacts: directory or URI where the server keeps artifacts.
        host: address to bind to.
        port: port to listen on.
        workers: processes that answer requests.
        allowed_hosts: `Host` headers to accept beside loopback, such as `mlflow:*`. Empty:
            MLflow's own rule, loopback and private addresses.
    """
    if store.startswith("sqlite"):
        _create_wal(Path(make_url(store).database or ""))
    arguments = [sys.executable, "-m", "mlflow", "server", "--app-name", "pellucid"]
    arguments += ["--backend-store-uri", store, "--artifacts-destination", str(artifacts)]
    arguments += ["--host", host, "--port", str(port), "--workers", str(workers)]
    if allowed_hosts:
        names = ["localhost:*", "127.0.0.1:*", "[::1]:*", *allowed_hosts]
        arguments += ["--allowed-hosts", ",".join(names)]
    return Command(arguments, dict(ENVIRONMENT))


def _create_wal(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
