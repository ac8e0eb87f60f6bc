"""Several fits for one answer: cross-validation and hyper-parameter search."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pellucid.plan.base import Count, Part


class CrossValidation(Part):
    """Folds over the rows that are not test rows; their networks become one ensemble.

    With `inner`, each fold's own training rows are cross-validated again (nested), so that what
    is chosen on inner folds is scored on rows that took no part in the choice.
    """

    kind: Literal["kfold", "stratified", "group"] = "stratified"
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    inner: Annotated[int, Field(ge=0, le=20, description="0: not nested.")] = 0
    group: Annotated[str | None, Field(description="Default: the column with role id.")] = None


class Range(Part):
    """Numbers between two limits."""

    kind: Literal["range"] = "range"
    low: float
    high: float
    log: bool = False
    integer: bool = False


class Choice(Part):
    """One of several values."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[Any, ...], Field(min_length=1)]


Space = Annotated[Range | Choice, Field(discriminator="kind")]


class Search(Part):
    """Hyper-parameter search: each trial is a job of its own (Optuna)."""

    space: Annotated[
        dict[str, Space],
        Field(min_length=1, description="Path in the plan -> values: optimizer.lr, model.width."),
    ]
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    parallel: Annotated[Count, Field(description="Trials under way at once.")] = 2
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Annotated[
        Literal["asha", "none"],
        Field(description="asha: stops the worst at rungs (Li et al., 2020)."),
    ] = "asha"
    metric: Annotated[str | None, Field(description="Default: the validation loss.")] = None
