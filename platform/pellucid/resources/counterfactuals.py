"""Counterfactual explanations: changes of rows that bring about another decision."""

from typing import Any

from pydantic import ConfigDict, Field

from pellucid.resources.base import Resource


class Decision(Resource):
    """What a model says of a row: a label and probabilities, or a value."""

    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None


class Alteration(Resource):
    """A column's value, and what it becomes; null is missing."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True
    )

    column: str
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")


class Counterfactual(Resource):
    """Changes of a row that bring about what is desired."""

    changes: list[Alteration]
    prediction: Decision = Field(description="For the changed row.")
    verified: bool = Field(description="The served model itself decided so.")
    distance: float = Field(
        description="The sum of the changes: of a number in units of its mean absolute deviation "
        "from the median, of anything else 1."
    )


class CounterfactualRow(Resource):
    """What was found for one row: few changed columns first, then small distances."""

    prediction: Decision = Field(description="For the row as it is.")
    counterfactuals: list[Counterfactual]
    reason: str = Field(description="Why there is none; empty if there is one.")
    binding: list[str] = Field(
        description="Where there is none: columns that may not change so far, or at all, and any "
        "one of which would have sufficed, with changes of others."
    )
    model_rows: int = Field(description="Rows that the model ran in the search.")


class Counterfactuals(Resource):
    """Counterfactual explanations in the order of the rows."""

    model: str
    version: int
    rows: list[CounterfactualRow]
