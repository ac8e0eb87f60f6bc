"""The services of one machine: MLflow, the API, a worker and the monitor, as settings say."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

from pellucid.db.upgrade import upgrade
from pellucid.errors import InvalidSettings
from pellucid.settings import PREFIX, Settings
from pellucid.supervisor import Say, Service, Supervisor
from pellucid.tracking.server import mlflow_server

_LOOPBACK = "127.0.0.1"


@contextmanager
def running(settings: Settings, say: Say) -> Iterator[Supervisor]:
    """All services, ready, until the end of the block.

    Raises:
        InvalidSettings: a port is taken, or the API would be open to anyone.
        Unavailable: a service does not start.
    """
    settings.require_keys_beyond_loopback()
    require_free(settings.host, settings.port, "port")
    if settings.grpc_port:
        require_free(settings.host, settings.grpc_port, "grpc_port")
    if not settings.mlflow_url:
        require_free(_LOOPBACK, settings.mlflow_port, "mlflow_port")
    settings.home.mkdir(parents=True, exist_ok=True)
    upgrade(settings.resolved_database_url)
    say(f"the database is ready at {_without_password(settings.resolved_database_url)}")
    with Supervisor(services(settings), settings.home / "logs", say) as supervisor:
        yield supervisor


def services(settings: Settings) -> list[Service]:
    """What to start; MLflow only where no `mlflow_url` says that it runs elsewhere."""
    environment = settings.environment()
    command = [sys.executable, "-m", "pellucid.cli"]
    found = [
        Service("api", [*command, "api"], environment, f"{api_url(settings)}/health/live"),
        Service("worker", [*command, "worker"], environment),
        Service("monitor", [*command, "monitor"], environment),
    ]
    return found if settings.mlflow_url else [_mlflow(settings), *found]


def on_free_ports(settings: Settings) -> Settings:
    """The settings, with a free port in place of each that is taken."""
    changed = {}
    if not _is_free(settings.host, settings.port):
        changed["port"] = _free_port(settings.host)
    if settings.grpc_port and not _is_free(settings.host, settings.grpc_port):
        changed["grpc_port"] = _free_port(settings.host)
    if not settings.mlflow_url and not _is_free(_LOOPBACK, settings.mlflow_port):
        changed["mlflow_port"] = _free_port(_LOOPBACK)
    return settings.model_copy(update=changed)


def api_url(settings: Settings) -> str:
    """Where the API that is started here answers, whatever its public `url`."""
    host = _LOOPBACK if settings.host in ("0.0.0.0", "::", "localhost") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _mlflow(settings: Settings) -> Service:
    folder = settings.home / "mlflow"
    command = mlflow_server(
        f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"), port=settings.mlflow_port
    )
    health = f"{settings.resolved_mlflow_url}/health"
    return Service("mlflow", command.arguments, command.environment, health)


def require_free(host: str, port: int, setting: str) -> None:
    """Refuse a port that another process has. Raises `InvalidSettings`."""
    if not _is_free(host, port):
        raise InvalidSettings(
            f"Port {port} is taken by another process.",
            where={"setting": f"{PREFIX}{setting.upper()}"},
            remedy=f"Stop that process, or choose a port: {PREFIX}{setting.upper()}={port + 1}.",
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return port != 0  # with 0, nobody would know where the service listens


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
