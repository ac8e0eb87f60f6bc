"""What MLflow's scoring server has: `/invocations`, `/ping`, `/health`, `/version`."""

from importlib.metadata import version as installed
from typing import Any

from fastapi import Request, Response

from pellucid.errors import NotFound
from pellucid_api.deps import Held, ModelName
from pellucid_api.engine.served import Served
from pellucid_api.plane.asgi import answer
from pellucid_api.services import Services

_SPLIT = {"columns": ["age", "purpose"], "data": [[41, "car"], [None, "boat"]]}
_EXAMPLES: dict[str, Any] = {
    "split": {"summary": "A DataFrame", "value": {"dataframe_split": _SPLIT}},
    "records": {"summary": "Its rows", "value": {"dataframe_records": [{"age": 41}]}},
    "tensor": {"summary": "The tensor of an ONNX model", "value": {"inputs": [[0.5, 1.5]]}},
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "examples": _EXAMPLES},
            "text/csv": {"schema": {"type": "string"}, "example": "age,purpose\n41,car\n"},
        },
    }
}


async def invocations(services: Held, request: Request) -> Response:
    """Predict as `mlflow models serve` does, with the default model.

    That is PELLUCID_DEFAULT_MODEL, or the only model that has a champion.
    """
    return await answer(request, services.plane, services.invocations, _default(services))


async def model_invocations(services: Held, name: ModelName, request: Request) -> Response:
    """Predict as `mlflow models serve` does, with the champion."""
    served = services.pool.champion(name)
    return await answer(request, services.plane, services.invocations, served)


def ping(services: Held) -> Response:
    """Ask whether predictions are answered."""
    status = 503 if services.pool.obstacle() else 200
    return Response("\n", status, media_type="application/json")


def version() -> Response:
    """Tell the version of MLflow whose protocol this is."""
    return Response(installed("mlflow"), media_type="application/json")


def _default(services: Services) -> Served:
    """The model that is meant where none is named.

    Raises:
        NotFound: there are several, or none.
        ModelNotReady: the one that is set is not loaded.
    """
    pool, name = services.pool, services.settings.default_model
    if name:
        return pool.champion(name)
    champions = pool.champions()
    if len(champions) == 1:
        return champions[0]
    names = ", ".join(each.name for each in champions)
    raise NotFound(
        f"Several models have a champion: {names}." if names else "No model has a champion.",
        remedy="Set PELLUCID_DEFAULT_MODEL, or POST /v1/models/NAME/invocations."
        if names
        else "Promote a version: POST /v1/models/NAME/promote.",
    )
