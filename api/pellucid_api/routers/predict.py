"""Predictions for plain rows."""

from typing import Annotated

from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool

from pellucid_api.bodies import ROWS, rows_body
from pellucid_api.deps import ExplainOptions, Held, ModelName, VersionNumber
from pellucid_api.engine.served import Served
from pellucid_api.plane.asgi import answer, response_of
from pellucid_api.plane.exchange import request_headers
from pellucid_api.plane.routed import answering
from pellucid_api.services import Services

Explain = Annotated[
    bool,
    Query(description="Tell each answer's SHAP values, too: see `/explain`, and its parameters."),
]

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
ROWS_BODY = rows_body({"rows": ROWS}, EXAMPLES)


async def predict(
    services: Held,
    name: ModelName,
    request: Request,
    options: ExplainOptions,
    explain: Explain = False,
) -> Response:
    """Predict with the champion.

    Rows are objects of the model's raw columns: numbers, strings, booleans, ISO 8601 times (UTC
    unless they say otherwise), lists of numbers; images as base64 of a PNG, JPEG or other file, or
    as pixels from 0 to 255. Every column must be there; null stands for a missing value, except
    for an image. A category that training never saw is answered like any rare one. Each answer
    has its own id; the value of a forecast is a list. Columns instead of rows, CSV and Arrow IPC
    streams are taken as well; `Accept` asks for CSV or Arrow answers. A model that was made
    elsewhere takes nested lists, and answers with `outputs`. Rows may bring along the model's
    sensitive columns: they are recorded for the fairness checks, and the model never sees them.
    """
    served = services.pool.champion(name)
    if explain:
        return await _explained(services, served, request, options)
    return await answer(request, services.plane, services.rows, served)


async def predict_with_version(
    services: Held,
    name: ModelName,
    version: VersionNumber,
    request: Request,
    options: ExplainOptions,
    explain: Explain = False,
) -> Response:
    """Predict with a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    if explain:
        return await _explained(services, served, request, options)
    return await answer(request, services.plane, services.rows, served)


async def _explained(
    services: Services, served: Served, request: Request, options: ExplainOptions
) -> Response:
    body = await request.body()
    headers = request_headers(request.scope["headers"])
    asked = services.explanations.answer(
        answering(served, headers), headers, body, options, predicting=True
    )
    return await response_of(request, asked)
