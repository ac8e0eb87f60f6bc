"""Several fits for one answer: cross-validation and hyper-parameter search."""

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pellucid.plan.base import Count, Part


class CrossValidation(Part):
    """Folds over the rows that are not test rows; their networks become one ensemble.

    Each fold's network learns from the other folds. Without `inner`, the fold also says when to
    stop, so its scores are a little too good. With `inner` (nested), folds of the other folds say
    how long to train, and the fold is only ever scored.
    """

    kind: Annotated[
        Literal["kfold", "stratified", "group"] | None,
        Field(description="Default: group with a group split, else stratified."),
    ] = None
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    inner: Annotated[int, Field(ge=0, le=20, description="0: not nested; else at least 2.")] = 0
    group: Annotated[
        str | None,
        Field(description="No group is in two folds. Default: the split's, or that with role id."),
    ] = None

    @model_validator(mode="after")
    def _two_inner_folds(self) -> Self:
        if self.inner == 1:
            raise ValueError("inner is 0 (not nested) or at least 2")
        return self


class Range(Part):
    """Numbers between two limits, which are among them."""

    kind: Literal["range"] = "range"
    low: float
    high: float
    log: Annotated[bool, Field(description="Each factor is as likely, not each step.")] = False
    integer: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low {self.low} must be below high {self.high}, and both finite")
        if self.log and self.low <= 0:
            raise ValueError(f"with log, low {self.low} must be above 0")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"with integer, low {self.low} and high {self.high} must be whole")
        return self

    @property
    def bounds(self) -> tuple[int | float, int | float]:
        """Both limits, as the plan takes them."""
        if self.integer:
            return int(self.low), int(self.high)
        return self.low, self.high


class Choice(Part):
    """One of several values."""

    kind: Literal["choice"] = "choice"
    values: Annotated[
        tuple[Any, ...], Field(min_length=1, description="Of any kind that the key takes.")
    ]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        written = [json.dumps(value, sort_keys=True) for value in self.values]
        if len(set(written)) < len(written):
            raise ValueError("a value comes twice")
        return self


Space = Annotated[Range | Choice, Field(discriminator="kind")]


class Search(Part):
    """Hyper-parameter search: each trial is a job of its own (Optuna)."""

    space: Annotated[
        dict[str, Space],
        Field(min_length=1, description="Path in the plan -> values: optimizer.lr, model.widths."),
    ]
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    parallel: Annotated[Count, Field(description="Trials under way at once.")] = 2
    sampler: Annotated[
        Literal["tpe", "random"],
        Field(description="tpe: where good trials are dense (Bergstra et al., 2011)."),
    ] = "tpe"
    pruner: Annotated[
        Literal["asha", "none"],
        Field(description="asha: ends all but the best at each rung (Li et al., 2020)."),
    ] = "asha"
    first_rung: Annotated[
        Count | None, Field(description="Epochs. Default: a sixteenth of training.epochs.")
    ] = None
    reduction: Annotated[
        int, Field(ge=2, le=10, description="One of so many goes on from a rung to the next.")
    ] = 4
    metric: Annotated[
        str | None, Field(description="A validation score: roc_auc, rmse. Default: loss.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
