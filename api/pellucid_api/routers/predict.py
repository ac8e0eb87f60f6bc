"""Predictions for plain rows."""

from typing import Any

from anyio import to_thread
from fastapi import Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from pellucid.errors import InvalidRows
from pellucid_api.bodies import JsonBody
from pellucid_api.deps import Held, ModelName, VersionNumber
from pellucid_api.engine.answers import answers
from pellucid_api.engine.pool import Served
from pellucid_api.engine.rows import decode_rows
from pellucid_api.services import Services

_ROW = {"age": 41, "purpose": "car", "employed": True, "since": "2024-05-31", "income": None}
ROWS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "array", "items": {"type": "object"}},
                        {
                            "type": "object",
                            "required": ["rows"],
                            "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
                        },
                    ]
                },
                "example": [_ROW],
            }
        },
    }
}


async def predict(services: Held, name: ModelName, body: JsonBody) -> Response:
    """Predict with the champion.

    Rows are objects of the model's raw columns: numbers, strings, booleans, ISO 8601 times (UTC
    unless they say otherwise). Every column must be there; null stands for a missing value. A
    category that training never saw is answered like any rare one. Each answer has its own id.
    """
    return await _predict(services, services.pool.champion(name), body)


async def predict_with_version(
    services: Held, name: ModelName, version: VersionNumber, body: JsonBody
) -> Response:
    """Predict with a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    return await _predict(services, served, body)


async def _predict(services: Services, served: Served, body: Any) -> Response:
    if isinstance(body, dict):
        if body.keys() != {"rows"}:
            raise InvalidRows(
                f"The body is an object with the keys: {', '.join(body) or 'none'}.",
                remedy='Send a list of row objects, or {"rows": [...]}.',
            )
        body = body["rows"]
    content = await to_thread.run_sync(_answer, services, served, body, limiter=services.compute)
    return Response(content, media_type="application/json")


def _answer(services: Services, served: Served, rows: Any) -> bytes:
    manifest = served.model.manifest
    feed = decode_rows(rows, manifest.inputs, services.settings.max_rows)
    outputs = served.model.run(feed)
    found = answers(manifest, outputs, services.ids.take(len(rows)))
    # `Predictions` as plain data: a hundred thousand models would take longer than the network.
    return to_json({"model": served.name, "version": served.version, "predictions": found})
