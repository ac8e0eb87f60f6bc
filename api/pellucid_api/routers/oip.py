"""The Open Inference Protocol v2 over REST."""

from importlib.metadata import version as installed
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from pellucid.errors import ModelNotReady
from pellucid_api.deps import Held, ModelName, VersionNumber
from pellucid_api.engine.served import Served
from pellucid_api.oip import codec
from pellucid_api.oip.types import (
    InferenceRequest,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
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


REQUEST_SCHEMAS = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")


def server() -> ServerMetadata:
    """Name the server and its extensions of the protocol."""
    return ServerMetadata(name="pellucid", version=installed("pellucid"), extensions=[])


def live() -> Live:
    """Ask whether the process answers."""
    return Live(live=True)


def ready(response: Response, services: Held) -> Ready:
    """Ask whether inference is answered."""
    state = not services.pool.obstacle()
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
    channels]. A sequence: [rows, steps]. A text: BYTES, or INT64 tokens [rows, tokens]. JSON only:
    the binary tensor extension is refused.
    """
    served = services.pool.champion(name)
    return await answer(request, services.plane, services.tensors, served)


async def infer_with_version(
    services: Held, name: ModelName, version: VersionNumber, request: Request
) -> Response:
    """Infer with a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    return await answer(request, services.plane, services.tensors, served)


def _metadata(services: Services, served: Served) -> ModelMetadata:
    versions = services.pool.loaded(served.name)
    return codec.metadata(served.name, versions, served.model.manifest)
