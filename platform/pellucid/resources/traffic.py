"""Versions that compete for a model's requests, and how they compare."""

from datetime import datetime

from pydantic import Field

from pellucid.resources.base import Resource
from pellucid.resources.models import MISSING_PROCESSES, Quantiles


class Contender(Resource):
    """A version that competes with the champion, and its share of the requests."""

    version: int
    share: float = Field(description="From 0 to 1: answered by a challenger, seen by a shadow.")


class Traffic(Resource):
    """Who answers the requests that name no version of a model, and who sees copies of them."""

    model: str
    champion: int | None
    challenger: Contender | None = None
    shadow: Contender | None = None
    failures: dict[str, str] = Field(
        default_factory=dict, description="Why a role's version is not loaded here, by role."
    )


class Side(Resource):
    """What one of two versions has done since they were first compared."""

    version: int
    requests: int
    errors: int = Field(
        description="Requests that it could not answer. Of a challenger: those that the champion "
        "answered instead."
    )
    latency: Quantiles | None = Field(
        description="From arrival to answer. Of a shadow: to decode, wait and run."
    )


class Agreement(Resource):
    """How alike two versions are on the same rows."""

    rows: int
    equal_labels: float | None = Field(description="Share of rows; null without labels.")
    mean_difference: float | None = Field(
        description="Mean absolute difference of the numbers; probabilities matched by class."
    )
    largest_difference: float | None
    incomparable: int = Field(description="Rows whose outputs have nothing in common.")


class Significance(Resource):
    """A test of a difference: contender minus champion, with 95 % limits."""

    of: str = Field(description="What is compared.")
    test: str
    difference: float
    low: float
    high: float
    p_value: float
    significant: bool = Field(description="At the level 0.05.")


class Comparison(Resource):
    """A champion against one contender, since they first met."""

    role: str = Field(description="challenger or shadow.")
    share: float
    since: datetime
    champion: Side
    contender: Side
    copied: int = Field(description="Requests run by both.")
    dropped: int = Field(description="Copies given up, since requests were waiting.")
    agreement: Agreement
    tests: list[Significance]


class Achieved(Resource):
    """A score of a version, from labels: of the newest window that has some."""

    version: int
    metric: str
    value: float
    low: float | None = Field(description="95 % limits.")
    high: float | None
    start: datetime
    end: datetime


class Comparisons(Resource):
    """Who competes with a model's champion, and what that has shown so far."""

    model: str
    champion: int
    comparisons: list[Comparison]
    missing: list[int] = Field(default_factory=list, description=MISSING_PROCESSES)
    achieved: list[Achieved] = Field(default_factory=list, description="By the monitor.")
    labels: str = Field(description="What is known of the true outcomes.")
