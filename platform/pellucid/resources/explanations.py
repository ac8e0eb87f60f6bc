"""Answers with their SHAP values."""

from typing import Any

from pydantic import Field

from pellucid.resources.base import Resource


class Explained(Resource):
    """The number that an explanation is about."""

    output: str = Field(description="A class, or what a regression predicts.")
    value: float
    unit: str
    contrast: str | None = Field(default=None, description="The class that was subtracted.")


class Contribution(Resource):
    """What a raw column's value adds to the explained number."""

    column: str
    value: Any = Field(default=None, description="As it was sent; null of an image.")
    shap: float


class Others(Resource):
    """The columns that are not told one by one."""

    columns: int
    shap: float = Field(description="The sum of theirs.")


class Token(Resource):
    """A piece of a text, and its part in the explained number."""

    text: str
    start: int = Field(description="Its first character, from 0.")
    end: int = Field(description="One after its last.")
    shap: float


class Superpixels(Resource):
    """An image in parts."""

    segments: list[list[int]] = Field(description="Of each pixel the part that it belongs to.")
    shap: list[float] = Field(description="Of each part.")


class ExplainedPrediction(Resource):
    """One row's answer and its SHAP values: base + the sum over the columns is the explained value.

    Of a row that was compared to a reference, `base` is the reference's value.
    """

    id: str | None = Field(default=None, description="Of what was recorded as a prediction.")
    label: int | str | None = None
    probabilities: dict[str, float] | None = None
    value: float | list[float] | None = None
    explained: Explained
    base: float = Field(description="The mean explained value over the background rows.")
    contributions: list[Contribution] = Field(description="The largest first.")
    others: Others | None = None
    gap: float = Field(description="|base + the sum of all SHAP values - the explained value|.")
    within_tolerance: bool = Field(description="Of the gap.")
    method: str
    pixels: list[Any] | None = Field(
        default=None, description="Of images: (height, width), with frames in front."
    )
    superpixels: Superpixels | None = None
    steps: dict[str, list[float]] | None = Field(
        default=None, description="Of sequences: of each column the values of its steps."
    )
    tokens: list[Token] | None = Field(default=None, description="Of texts.")


class ExplainedPredictions(Resource):
    """Explained answers in the order of the rows, and how good such explanations are."""

    model: str
    version: int
    method: str = Field(description="deep, gradients, exact, or amortized.")
    unit: str = Field(description="Of all values: log-odds, score, or what a regression predicts.")
    background: int = Field(description="Rows that are compared to.")
    tolerance: float = Field(
        description="Of gaps, relative to how far explained values are from the base, on average."
    )
    quality: dict[str, float] = Field(description="Measured on held-out rows, at the training.")
    hint: str | None = Field(default=None, description="What to do about rows above the tolerance.")
    predictions: list[ExplainedPrediction]
