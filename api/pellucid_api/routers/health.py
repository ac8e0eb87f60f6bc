"""Whether the service lives, whether it is ready, and what it is."""

from importlib.metadata import version
from typing import Any

import anyio
from fastapi import Response
from pydantic import BaseModel, Field

from pellucid.errors import DatabaseUnavailable
from pellucid_api.deps import Held
from pellucid_api.processes.counts import Census
from pellucid_api.services import Services

_PATIENCE_SECONDS = 2.0  # for a database that does not answer


class Live(BaseModel):
    """The process answers."""

    status: str = "live"


class ServedModel(BaseModel):
    """A champion: the version that answers, and the one that ought to, if that is another."""

    name: str
    version: int | None
    device: str | None = Field(description="Where it really runs: cpu, cuda:0 and the like.")
    providers: list[str] = Field(
        description="ONNX Runtime's execution providers that run some of its operators."
    )
    failed_version: int | None = None
    failure: str | None = Field(default=None, description="Why that version is not served.")


class Readiness(BaseModel):
    """Whether requests are taken, and the state of everything that they may need.

    Ready means: the device that the settings ask for is there, and the champions known at the start
    are loaded; with no model registered yet, that jobs and data sets are taken. A database or
    registry that is down, or a prediction log that cannot be written, is told, but leaves the
    service ready: models go on answering. So is a serving process that does not answer the others.
    """

    ready: bool
    reason: str = Field(description="Why not; empty if ready.")
    device: str | None
    models: list[ServedModel]
    database: str = Field(description="ok, or what is wrong.")
    registry: str = Field(description="ok, or what is wrong.")
    prediction_log: str = Field(description="ok, off, or why predictions are lost.")
    missing: list[int] = Field(description="Serving processes, from 0, that do not answer.")


class Info(BaseModel):
    """What this service is."""

    version: str
    device: str | None = Field(description="Where models run: cpu, cuda:0 and the like.")
    mlflow_url: str
    database: str
    registry: str


def live() -> Live:
    """Ask whether the process answers."""
    return Live()


async def ready(response: Response, services: Held) -> Readiness:
    """Ask whether the service is ready: 200 or 503, with the state of every part."""
    state = await readiness(services)
    response.status_code = 200 if state.ready else 503
    return state


async def info(services: Held) -> Info:
    """Show the version, the device, and the state of MLflow and the database."""
    pool = services.pool
    return Info(
        version=version("pellucid"),
        device=pool.device,
        mlflow_url=services.settings.resolved_mlflow_url,
        database=await _database(services),
        registry=_registry(services),
    )


async def readiness(services: Services) -> Readiness:
    """The state of every part."""
    census = await anyio.to_thread.run_sync(services.siblings.census)
    reason = census.obstacle()
    return Readiness(
        ready=not reason,
        reason=reason,
        device=services.pool.device,
        models=_models(services),
        database=await _database(services),
        registry=_registry(services),
        prediction_log=_prediction_log(services, census),
        missing=list(census.missing),
    )


def _models(services: Services) -> list[ServedModel]:
    found: dict[str, dict[str, Any]] = {
        served.name: {
            "version": served.version,
            "device": served.model.device,
            "providers": served.model.providers,
        }
        for served in services.pool.champions()
    }
    for name, failure in services.pool.failures.items():
        entry = found.setdefault(name, {"version": None, "device": None, "providers": []})
        entry |= {"failed_version": failure.version, "failure": failure.reason}
    return [ServedModel(name=name, **entry) for name, entry in sorted(found.items())]


async def _database(services: Services) -> str:
    try:
        with anyio.fail_after(_PATIENCE_SECONDS):
            await anyio.to_thread.run_sync(services.database.ping, abandon_on_cancel=True)
    except DatabaseUnavailable as error:
        return error.message
    except TimeoutError:
        return f"no answer within {_PATIENCE_SECONDS:g} s"
    return "ok"


def _registry(services: Services) -> str:
    error = services.pool.registry_error
    return error.message if error else "ok"


def _prediction_log(services: Services, census: Census) -> str:
    if services.recorder is None:
        return "off"
    errors = {state.log_error for state in census.states.values()} - {""}
    return "; ".join(sorted(errors)) or "ok"
