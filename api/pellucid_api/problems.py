"""Errors over HTTP: one table from class to status, and the two forms that errors take.

`application/problem+json` (RFC 9457) everywhere; under `/v2` the Open Inference Protocol's
`{"error": "..."}`, and at `/invocations` MLflow's, where a request that does not fit is 400.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from pellucid import errors

logger = logging.getLogger(__name__)

STATUS: dict[type[errors.PellucidError], int] = {
    errors.PellucidError: 500,
    errors.InvalidInput: 422,
    errors.InvalidData: 422,
    errors.InvalidPlan: 422,
    errors.InvalidRows: 422,
    errors.InvalidSettings: 500,
    errors.TooLarge: 413,
    errors.UnsupportedType: 415,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IdempotencyConflict: 422,
    errors.LeaseLost: 409,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
    errors.TrackerUnavailable: 503,
    errors.DatabaseUnavailable: 503,
    errors.ModelNotReady: 503,
    errors.Overloaded: 503,
    errors.DeadlineExceeded: 504,
    errors.DeviceUnavailable: 503,
    errors.TrainingFailed: 422,
}
_MLFLOW_CODES = {
    401: "UNAUTHENTICATED",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "TEMPORARILY_UNAVAILABLE",
}
_RETRY_AFTER_SECONDS = "2"
_LONGEST = 8000  # characters of an error's text: names that clients send may have any length
_PROBLEM_JSON = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, where, and what to do (RFC 9457)."""

    type: str = Field(examples=["urn:pellucid:problem:invalid_plan"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["training.epochs: must be at least 1 (got -3)."])
    code: str = Field(examples=["invalid_plan"], description="The error's name, for programs.")
    where: dict[str, Any] = Field(
        default_factory=dict, examples=[{"path": "training.epochs"}], description="The place."
    )
    remedy: str = Field(default="", description="What to do next.")


class OipError(BaseModel):
    """The Open Inference Protocol's error."""

    error: str


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route in the OpenAPI document, for these error statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {_PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def respond(path: str, error: errors.PellucidError) -> Response:
    """The response for one of our errors."""
    status = STATUS[type(error)]
    headers = {"Retry-After": _RETRY_AFTER_SECONDS} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(path, status, error, headers)


def install(app: FastAPI) -> None:
    """Let every error that an endpoint raises be told in one of the two forms."""
    app.add_exception_handler(errors.PellucidError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


def unexpected(path: str) -> Response:
    """The response for an error that is ours to mend; the log has the traceback."""
    error = errors.PellucidError(
        "Something went wrong inside the service.",
        remedy="The service's log has the details under this response's X-Request-ID.",
    )
    return _response(path, 500, error)


def broken(path: str, status: int, reason: str) -> Response:
    """The response to what is no request of HTTP."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return _response(path, status, errors.PellucidError(reason), code=code)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.PellucidError)
    if STATUS[type(error)] >= 500:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    return respond(request.url.path, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, errors.PellucidError):
        return respond(request.url.path, error.__cause__)
    status = error.status_code
    message = error.detail
    if status in (404, 405) and message == HTTPStatus(status).phrase:  # the router's own words
        message = f"{request.method} {request.url.path} is not a route of this service."
    problem = errors.PellucidError(message, remedy="" if status == 415 else "See /docs.")
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return _response(request.url.path, status, problem, error.headers, code=code)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    items = error.errors()
    places = [".".join(str(part) for part in item["loc"]) for item in items]
    text = "; ".join(f"{p}: {item['msg']}" for p, item in zip(places, items, strict=True))
    place = {"path": places[0] if len(places) == 1 else places}
    # `curl -d` says that it sends a form unless it is told otherwise.
    unread = places == ["body"] and "json" not in request.headers.get("content-type", "")
    remedy = "Send JSON, with the header Content-Type: application/json." if unread else ""
    return respond(request.url.path, errors.InvalidInput(f"{text}.", where=place, remedy=remedy))


def _response(
    path: str,
    status: int,
    error: errors.PellucidError,
    headers: Mapping[str, str] | None = None,
    *,
    code: str | None = None,
) -> Response:
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": _cut(str(error))}, 400 if status == 422 else status, headers)
    if path.endswith("/invocations"):  # in the form of MLflow's errors
        content = {
            "error_code": _MLFLOW_CODES.get(status, "BAD_REQUEST"),
            "message": _cut(str(error)),
        }
        return JSONResponse(content, 400 if status == 422 else status, headers)
    code = code or error.code
    problem = Problem(
        type=f"urn:pellucid:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_cut(error.message),
        code=code,
        where={key: _cut(v) if isinstance(v, str) else v for key, v in error.where.items()},
        remedy=_cut(error.remedy),
    )
    return JSONResponse(problem.model_dump(mode="json"), status, headers, _PROBLEM_JSON)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
