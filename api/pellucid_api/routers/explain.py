"""Explanations for plain rows."""

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from pellucid_api.bodies import ROWS, rows_body
from pellucid_api.deps import ExplainOptions, Held, ModelName, VersionNumber
from pellucid_api.engine.served import Served
from pellucid_api.plane.asgi import response_of
from pellucid_api.plane.exchange import request_headers
from pellucid_api.services import Services

_ROW = {"age": 41, "purpose": "car", "employed": True, "since": "2024-05-31", "income": None}
EXAMPLES = {
    "rows": {"summary": "Rows, compared to the background", "value": [_ROW]},
    "reference": {
        "summary": "Rows, compared to another row: why not as that one?",
        "value": {"rows": [_ROW], "reference": _ROW | {"age": 29, "income": 52000}},
    },
    "text": {"summary": "A text", "value": [{"review": "A film that stays with you."}]},
}
BODY = rows_body({"rows": ROWS, "reference": {"type": "object"}}, EXAMPLES)


async def explain(
    services: Held, name: ModelName, request: Request, options: ExplainOptions
) -> Response:
    """Explain predictions of the champion.

    Rows are as `/predict` takes them. Each answer has the prediction and its SHAP values: what each
    raw column adds to the explained output, from its mean over the background rows (`base`) to
    what it is for this row (`explained.value`). A class is explained as log-odds where there are
    two, and else as its score before softmax. `gap` is by how much the values do not add up; a
    row above the tolerance is explained again with more steps before it is answered, and says so
    if that was not enough. With a `reference` row, values lead from its output to that of each
    row: why was this one not approved, and that one was? Of images there is a value for each
    pixel, of sequences for each step, of texts for each token. An explanation is no prediction:
    nothing is recorded, and there is no id; see `explain` of `/predict`.
    """
    return await _explain(services, services.pool.champion(name), request, options)


async def explain_with_version(
    services: Held,
    name: ModelName,
    version: VersionNumber,
    request: Request,
    options: ExplainOptions,
) -> Response:
    """Explain predictions of a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    return await _explain(services, served, request, options)


async def _explain(
    services: Services, served: Served, request: Request, options: ExplainOptions
) -> Response:
    body = await request.body()
    headers = request_headers(request.scope["headers"])
    return await response_of(request, services.explanations.answer(served, headers, body, options))
