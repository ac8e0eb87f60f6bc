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
EXAMPLES = {
    "table": {"summary": "Scalar columns", "value": [_ROW]},
    "image": {
        "summary": "An image: base64 of its file, or its pixels",
        "value": [{"image": "iVBORw0KGgo..."}, {"image": [[0, 128], [255, 64]]}],
    },
    "sequence": {
        "summary": "A sequence: a list of numbers for each channel",
        "value": [{"load": [3.5, None, 4.1], "temperature": [12, 12.5, 13]}],
    },
    "text": {"summary": "A text", "value": [{"review": "A film that stays with you."}]},
}
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
                "examples": EXAMPLES,
            }
        },
    }
}


async def predict(services: Held, name: ModelName, body: JsonBody) -> Response:
    """Predict with the champion.

    Rows are objects of the model's raw columns: numbers, strings, booleans, ISO 8601 times (UTC
    unless they say otherwise), lists of numbers; images as base64 of a PNG, JPEG or other file, or
    as pixels from 0 to 255. Every column must be there; null stands for a missing value, except
    for an image. A category that training never saw is answered like any rare one. Each answer
    has its own id; the value of a forecast is a list.
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
    model = served.model
    feed = decode_rows(rows, manifest.inputs, services.settings.max_rows, model.tokenizer)
    outputs = model.run(feed)
    found = answers(manifest, outputs, services.ids.take(len(rows)))
    # `Predictions` as plain data: a hundred thousand models would take longer than the network.
    return to_json({"model": served.name, "version": served.version, "predictions": found})
