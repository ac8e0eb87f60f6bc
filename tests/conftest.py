"""Fixtures shared by all tests: the real servers, started once for the whole run."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.mlflow_server import MlflowServer
from support.postgres import PostgresServer

# How long an example takes is no matter of right or wrong. With `CI` set, hypothesis's own profile
# also makes the examples the same in every run.
settings.register_profile(
    "patient",
    parent=settings(),
    deadline=None,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.too_slow],
)
settings.load_profile("patient")


def pytest_configure() -> None:
    """One thread for PyTorch, and in what tests start, where several processes share the cores.

    Threads that spin until others have had their turn make small networks several times slower.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server on SQLite; leave it running, as others use it too."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_url(mlflow_server: MlflowServer) -> str:
    """The address of that server; use experiment and model names of your own."""
    return mlflow_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server; leave it running."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def postgres_url(postgres_server: PostgresServer) -> str:
    """A new, empty database on it for each test module."""
    return postgres_server.create_database()
