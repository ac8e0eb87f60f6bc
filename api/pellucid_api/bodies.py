"""Bodies that are read by hand: JSON or YAML, whatever curl calls them."""

from typing import Annotated, Any

import yaml
from fastapi import Depends, Request
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from pellucid.errors import InvalidInput, InvalidPlan, TooLarge
from pellucid.plan.document import read_yaml
from pellucid_api.plane.formats import ARROW

_JSON = ("application/json", "application/x-www-form-urlencoded", "")  # curl -d says the second
_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")
_LARGEST = 2**20  # bytes
ROWS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}


async def plan_body(request: Request) -> Any:
    """The body as YAML, of which JSON is a part.

    Raises:
        HTTPException: 415, it says it is something else.
        InvalidPlan: it is empty or neither.
        TooLarge: no plan is that long.
    """
    _require(request, _JSON + _YAML)
    body = await request.body()
    if len(body) > _LARGEST:
        raise TooLarge(f"A plan of {len(body):,} bytes is larger than {_LARGEST:,}.")
    return await run_in_threadpool(_plan, body)


PlanBody = Annotated[Any, Depends(plan_body)]


async def small_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever it calls itself; none is an empty one.

    Raises:
        InvalidInput: it is no JSON object.
        TooLarge: it is longer than 1 MiB.
    """
    body = await request.body()
    if len(body) > _LARGEST:
        raise TooLarge(f"A body of {len(body):,} bytes is larger than {_LARGEST:,}.")
    return _json_object(body.strip(), "body")


SmallBody = Annotated[dict[str, Any], Depends(small_body)]


def _require(request: Request, allowed: tuple[str, ...]) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed and not (given.startswith("application/") and given.endswith("+json")):
        raise HTTPException(415, f"The body is {given}; send {allowed[0]}.")


def _plan(body: bytes) -> Any:
    if not body.strip():
        raise InvalidPlan("The body is empty.", remedy="Send a plan as JSON or YAML.")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        pass  # no JSON; perhaps YAML
    try:
        text = body.decode("utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            # A few nested aliases stand for more text than any memory holds.
            raise InvalidPlan("A plan may not use YAML aliases.", remedy="Write the values out.")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidPlan(f"The body is neither JSON nor YAML: {error}.") from error
    return read_yaml(text)


def json_field(text: str, name: str) -> dict[str, Any]:
    """A form field that holds a JSON object; an empty one is {}.

    Raises:
        InvalidInput: it is no JSON object.
    """
    remedy = 'Send an object such as {"age": "feature"}.'
    return _json_object(text.encode(), f"field {name!r}", where={"field": name}, remedy=remedy)


def _json_object(content: bytes, what: str, **told: Any) -> dict[str, Any]:
    try:
        value = from_json(content or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"The {what} is not JSON: {error}.", **told) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"The {what} is no JSON object.", **told)
    return value


def rows_body(properties: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI is told of a body of rows: JSON, CSV or Arrow.

    Args:
        properties: of the object that may stand in place of the list; `rows` must be there.
        examples: of the JSON.
    """
    described = {"type": "object", "required": ["rows"], "properties": properties}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [ROWS, described]},
                    "examples": examples,
                },
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "age,purpose\n41,car\n,boat\n",
                },
                ARROW: {
                    "schema": {"type": "string", "format": "binary"},
                    "example": "the bytes that pyarrow.ipc.new_stream writes",
                },
            },
        }
    }
