"""Labels: what turned out to be true of predictions."""

from typing import Annotated

import pyarrow as pa
from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from pellucid.errors import Unavailable
from pellucid.monitoring.feedback.receipts import FeedbackReceipt
from pellucid_api.deps import Held
from pellucid_api.labels_body import PARQUET, read_labels
from pellucid_api.plane.formats import ARROW, CSV
from pellucid_api.services import Services
from pellucid_api.uploads import raise_if_full

_ID = "019aa8f2-7bbd-7cbb-8f7e-5b1c2d3e4f50"
_LABEL = {
    "type": "object",
    "required": ["id", "label"],
    "properties": {
        "id": {"type": "string", "description": "As it came with the prediction."},
        "label": {
            "description": "A class; a number; of a forecast a list of numbers.",
            "anyOf": [
                {"type": "string"},
                {"type": "number"},
                {"type": "boolean"},
                {"type": "array", "items": {"type": "number"}},
            ],
        },
    },
}
_LIST = {"type": "array", "items": _LABEL}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        _LABEL,
                        _LIST,
                        {"type": "object", "required": ["labels"], "properties": {"labels": _LIST}},
                    ]
                },
                "examples": {
                    "one": {"summary": "One label", "value": {"id": _ID, "label": "good"}},
                    "several": {"summary": "Several", "value": [{"id": _ID, "label": "good"}]},
                },
            },
            CSV: {"schema": {"type": "string"}, "example": f"id,label\n{_ID},good\n"},
            ARROW: _BINARY | {"example": "the bytes that pyarrow.ipc.new_stream writes"},
            PARQUET: _BINARY | {"example": "the bytes of a Parquet file"},
        },
    }
}
Source = Annotated[
    str, Query(max_length=200, description="Where the labels come from; kept with them.")
]


async def give(services: Held, request: Request, source: Source = "") -> FeedbackReceipt:
    """Tell what turned out to be true of predictions.

    A label is told by the id that came with its prediction: one, a list, or a file with the columns
    `id` and `label`. The receipt counts what became of them. Telling a label again changes nothing;
    another label for the same id is kept beside the first, and the last one told counts. A label
    whose prediction is not in the log is kept and joined if it turns up. Of several labels, those
    that are none of the model's are refused by row, and the rest is taken; a single one is a 422.
    """
    body = await request.body()
    content_type = request.headers.get("content-type", "").encode("latin-1")
    return await run_in_threadpool(_take, services, content_type, body, source)


def _take(services: Services, content_type: bytes, body: bytes, source: str) -> FeedbackReceipt:
    given = read_labels(content_type, body)
    try:
        receipt = services.feedback.take(given, source)
    except OSError as error:
        raise_if_full(error)
        raise Unavailable(f"The labels cannot be kept: {error}.") from error
    except pa.ArrowException as error:  # a file of the log or of the labels is damaged
        raise Unavailable(f"The labels cannot be compared with those before: {error}.") from error
    services.siblings.labels.add(receipt)
    return receipt
