"""The Open Inference Protocol v2 over REST."""

from importlib.metadata import version as installed
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from pellucid.errors import InvalidInput, ModelNotReady
from pellucid_api.bodies import SmallBody
from pellucid_api.deps import Held, ModelName, VersionNumber
from pellucid_api.engine.served import Served
from pellucid_api.oip import describe
from pellucid_api.oip.parameters import flag
from pellucid_api.oip.types import (
    IndexEntry,
    InferenceRequest,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerLive,
    ServerMetadata,
    Statistics,
    VersionInferenceStatistics,
)
from pellucid_api.plane.asgi import answer
from pellucid_api.services import Services

_EXAMPLE = {
    "id": "42",
    "inputs": [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [41, None]},
        {"name": "purpose", "shape": [2], "datatype": "BYTES", "data": ["car", "boat"]},
    ],
    "outputs": [{"name": "probabilities"}],
}


def _one(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


EXAMPLES = {
    "table": {"summary": "Scalar columns", "value": _EXAMPLE},
    "image file": {
        "summary": "Base64 of an image file",
        "value": _one("image", [1], "BYTES", ["iVBORw0KGgo..."]),
    },
    "pixels": {
        "summary": "An image of 2 x 2 grey pixels",
        "value": _one("image", [1, 2, 2], "UINT8", [0, 128, 255, 64]),
    },
    "sequence": {
        "summary": "A sequence of three steps",
        "value": _one("load", [1, 3], "FP64", [3.5, None, 4.1]),
    },
    "text": {"summary": "A text", "value": _one("review", [1], "BYTES", ["A film that stays."])},
}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferenceRequest"},
                "examples": EXAMPLES,
            }
        },
    }
}


def _optional(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


INDEX_BODY = _optional(ready={"type": "boolean", "default": False})
REPOSITORY_BODY = _optional(parameters={"type": "object"})
REQUEST_SCHEMAS = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")


def server() -> ServerMetadata:
    """Name the server and its extensions of the protocol."""
    return ServerMetadata(
        name="pellucid", version=installed("pellucid"), extensions=list(describe.EXTENSIONS)
    )


def live() -> ServerLive:
    """Ask whether the process answers."""
    return ServerLive(live=True)


def ready(response: Response, services: Held) -> Ready:
    """Ask whether inference is answered."""
    state = not services.siblings.census().obstacle()
    response.status_code = 200 if state else 503
    return Ready(ready=state)


def model(services: Held, name: ModelName) -> ModelMetadata:
    """Describe the champion's inputs and outputs."""
    return _metadata(services, services.pool.champion(name))


def model_version(services: Held, name: ModelName, version: VersionNumber) -> ModelMetadata:
    """Describe a version's inputs and outputs."""
    return _metadata(services, services.pool.version(name, version))


def model_ready(response: Response, services: Held, name: ModelName) -> ModelReady:
    """Ask whether the champion is loaded."""
    try:
        services.pool.champion(name)
    except ModelNotReady:
        response.status_code = 503
    return ModelReady(name=name, ready=response.status_code != 503)


def version_ready(
    response: Response, services: Held, name: ModelName, version: VersionNumber
) -> ModelReady:
    """Ask whether a version can be served; loads it."""
    try:
        services.pool.version(name, version)
    except ModelNotReady:
        response.status_code = 503
    return ModelReady(name=name, ready=response.status_code != 503)


async def infer(services: Held, name: ModelName, request: Request) -> Response:
    """Infer with the champion.

    One input tensor per raw column, of shape [rows] or [rows, 1]: BYTES for categories (null or ""
    is missing), any numeric datatype for the others (null is missing; times are seconds since
    1970-01-01 UTC). An image: BYTES, base64 of its file, or UINT8 pixels [rows, height, width,
    channels]. A sequence: [rows, steps]. A text: BYTES, or INT64 tokens [rows, tokens]. A tensor
    of a model that was made elsewhere: as the model's metadata say. Tensors may follow the JSON as
    binary data, whose header is Inference-Header-Content-Length. The header X-Request-Timeout-Ms
    allows so many milliseconds.
    """
    served = services.pool.champion(name)
    return await answer(request, services.plane, services.tensors, served)


async def infer_with_version(
    services: Held, name: ModelName, version: VersionNumber, request: Request
) -> Response:
    """Infer with a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    return await answer(request, services.plane, services.tensors, served)


def config(services: Held, name: ModelName) -> dict[str, Any]:
    """Show the champion's configuration as Triton writes it."""
    return _config(services, services.pool.champion(name))


def version_config(services: Held, name: ModelName, version: VersionNumber) -> dict[str, Any]:
    """Show a version's configuration as Triton writes it."""
    return _config(services, services.pool.version(name, version))


def all_stats(services: Held) -> Statistics:
    """Count the requests of all versions in memory."""
    return _statistics(services, *(served.name for served in services.pool.champions()))


def stats(services: Held, name: ModelName) -> Statistics:
    """Count the requests of a model's versions in memory."""
    return _statistics(services, services.pool.champion(name).name)


def version_stats(services: Held, name: ModelName, version: VersionNumber) -> Statistics:
    """Count the requests of a version."""
    services.pool.version(name, version)
    found = describe.statistics(services.siblings.census(), name, version)
    return Statistics(model_stats=[VersionInferenceStatistics(**found)])


def index(services: Held, body: SmallBody) -> list[IndexEntry]:
    """List the registered models and the versions in memory.

    `{"ready": true}` leaves out what does not answer.
    """
    ready = flag(body, "ready")
    found = describe.repository(services.pool, services.siblings.census(), ready=ready)
    return [IndexEntry(**each) for each in found]


def load(services: Held, name: ModelName, body: SmallBody) -> Response:
    """Load the champion, and serve the model again if it was unloaded."""
    _require_none(body, "A model is loaded as it was registered")
    services.siblings.load(name)
    return Response()


def unload(services: Held, name: ModelName, body: SmallBody) -> Response:
    """Stop serving a model, until it is loaded again or the service restarts."""
    _require_none(body, "A model is unloaded alone", "unload_dependents")
    services.siblings.unload(name)
    return Response()


def _require_none(body: dict[str, Any], reason: str, *known: str) -> None:
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput("`parameters` is no JSON object.", where={"path": "parameters"})
    given = [str(name) for name in parameters if name not in known]
    if given:
        raise InvalidInput(
            f"{reason}, without the parameters {', '.join(given)}.",
            where={"parameter": given[0]},
            remedy="Register another version with what it is to have.",
        )


def _config(services: Services, served: Served) -> dict[str, Any]:
    settings = services.settings
    return describe.configuration(served, settings.max_rows, settings.max_batch_rows)


def _statistics(services: Services, *names: str) -> Statistics:
    census = services.siblings.census()
    found = [
        describe.statistics(census, name, version)
        for name in names
        for version in census.versions(name)
    ]
    return Statistics(model_stats=[VersionInferenceStatistics(**each) for each in found])


def _metadata(services: Services, served: Served) -> ModelMetadata:
    versions = services.pool.loaded(served.name)
    return describe.metadata(served, versions)
