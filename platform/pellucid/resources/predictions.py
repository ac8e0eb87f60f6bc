"""Answers of models, as they are given and as they are recorded."""

from datetime import datetime
from typing import Any

from pydantic import Field

from pellucid.resources.base import Resource


class Prediction(Resource):
    """One row's answer. Classification has a label and probabilities, regression a value.

    A forecast of several steps has a list of values. A model that was made elsewhere has its
    outputs, by name, as nested lists.
    """

    id: str
    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | list[float] | None = None
    outputs: dict[str, Any] | None = None


class Predictions(Resource):
    """Answers in the order of the rows."""

    model: str
    version: int
    predictions: list[Prediction]


class GivenLabel(Resource):
    """What somebody told to be true of a prediction."""

    label: str = Field(description="A class by its name, a number, or a forecast's list of them.")
    time: datetime = Field(description="When it was told.")
    source: str = Field(description='Where it came from, as it was told; "" if nothing was.')


class LoggedPrediction(Resource):
    """A prediction as it was recorded, and where its version came from.

    Missing values are null; redacted columns are not there. An image, or another array, is an
    object of datatype, shape and data: its bytes, little-endian and row-major, in base64.
    """

    id: str
    time: datetime = Field(description="When its request came.")
    model: str
    version: int
    latency_ms: float = Field(description="From the request's arrival to its answer.")
    inputs: dict[str, Any] = Field(description="By raw column.")
    outputs: dict[str, Any]
    sensitive: dict[str, Any] = Field(
        default_factory=dict, description="Columns that came with the row, not for the model."
    )
    labels: list[GivenLabel] = Field(
        default_factory=list, description="By `/v1/feedback`, in their order; the last one counts."
    )
    run_id: str | None = Field(default=None, description="The version's MLflow run.")
    job_id: str | None = Field(default=None, description="The job that trained the version.")
    data_version: str | None = Field(
        default=None, description="SHA-256 of the data set that it was trained on."
    )
