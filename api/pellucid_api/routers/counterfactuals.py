"""Counterfactual explanations: the smallest change that would have led to another decision."""

from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool

from pellucid.analysis.counterfactuals import BUDGET, MOST_COLUMNS
from pellucid.decisions import thresholds
from pellucid.resources.counterfactuals import Counterfactuals
from pellucid.schema import Constraint
from pellucid_api.alterations import answered
from pellucid_api.deps import Held, ModelName, VersionNumber
from pellucid_api.engine.counterfactuals import Wish, searches_of
from pellucid_api.engine.rows import decode_rows
from pellucid_api.engine.served import Served
from pellucid_api.plane.deadlines import timeout_of
from pellucid_api.plane.exchange import request_headers
from pellucid_api.wishes import Desired, changeable, goals

_MOST_ROWS = 32
_SECONDS = 30.0  # of a request that says nothing of its time
_EXAMPLE: JsonDict = {
    "rows": [{"age": 41, "purpose": "car", "owner": True, "since": "2024-05-31"}],
    "desired": "good",
    "frozen": ["purpose"],
    "constraints": {"age": {"change": "increase", "high": 65}},
    "count": 3,
}


class Question(BaseModel):
    """Rows, and the decision that they should have had."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    rows: list[Any] = Field(description=f"As for predictions; at most {_MOST_ROWS}.")
    desired: int | str | Desired | None = Field(
        default=None, description="A class, or more. A regression needs at_least or at_most."
    )
    frozen: list[str] = Field(default=[], description="Columns that stay as they are.")
    constraints: dict[str, Constraint] = Field(
        default={}, description="On columns, in addition to those of the model's plan."
    )
    count: Annotated[int, Field(ge=1, le=10, description="Most counterfactuals of a row.")] = 1
    most_columns: Annotated[int, Field(ge=1, le=20, description="That one changes.")] = MOST_COLUMNS
    budget: Annotated[
        int, Field(ge=100, le=200_000, description="Most rows that the model runs, of each row.")
    ] = BUDGET


async def find(
    services: Held, name: ModelName, question: Question, request: Request
) -> Counterfactuals:
    """Find the smallest changes of rows that change the decision.

    Few changed columns come first, then small changes; each is verified by the served model.
    Columns change as the model's plan allows (`data.constraints`) and, further restricted, as the
    request does; numbers stay within the range of the training rows, and times change only where
    the plan says so. Where nothing is found, the answer says why. The search yields to predictions,
    and ends after the request's time, 30 seconds unless X-Request-Timeout-Ms says otherwise.
    """
    return await _answered(services.pool.champion(name), question, request)


async def find_with_version(
    services: Held, name: ModelName, version: VersionNumber, question: Question, request: Request
) -> Counterfactuals:
    """Find counterfactuals with a certain version, loaded on demand."""
    served = await run_in_threadpool(services.pool.version, name, version)
    return await _answered(served, question, request)


async def _answered(served: Served, question: Question, request: Request) -> Counterfactuals:
    manifest, tokenizer = served.model.manifest, served.model.tokenizer
    columns = changeable(served, question.frozen, question.constraints)
    desired = question.desired
    if not isinstance(desired, Desired):
        desired = Desired.model_validate({"class": desired})
    seconds = timeout_of(request_headers(request.scope["headers"])) or _SECONDS
    rows, brought = served.sensitive.completed(question.rows)  # as `/predict` takes them
    arrays = await run_in_threadpool(
        decode_rows, rows, (*manifest.inputs, *brought), _MOST_ROWS, tokenizer
    )
    feed = served.layout.pack(arrays)
    searches = searches_of(served)
    predicted = await searches.predicted(served, feed)
    wishes = [
        Wish(goal, columns, question.count, question.most_columns, question.budget)
        for goal in goals(manifest, desired, predicted, thresholds(manifest, arrays))
    ]
    answers = await searches.answers(served, feed, wishes, seconds)
    told = answered(manifest, arrays, predicted, wishes, answers)
    return Counterfactuals(model=served.name, version=served.version, rows=told)
