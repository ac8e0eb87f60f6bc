"""The server's command, and that it really serves."""

import sqlite3
from pathlib import Path

import httpx

from pellucid.tracking.server import mlflow_server


def test_the_store_is_made_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "below" / "mlflow.db"
    mlflow_server(f"sqlite:///{path}", str(tmp_path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_loopback_stays_allowed_beside_other_hosts(tmp_path: Path) -> None:
    command = mlflow_server("postgresql://db/mlflow", "s3://bucket", allowed_hosts=["mlflow:*"])
    hosts = command.arguments[command.arguments.index("--allowed-hosts") + 1]
    assert hosts.split(",") == ["localhost:*", "127.0.0.1:*", "[::1]:*", "mlflow:*"]
    assert command.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_it_serves(mlflow_url: str) -> None:
    assert httpx.get(f"{mlflow_url}/health").text == "OK"
    assert "MLflow" in httpx.get(mlflow_url).text
