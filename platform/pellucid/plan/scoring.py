"""The plan of a scoring job: one version of a model answers every row of one data set version."""

from pellucid.plan.base import Count, Name, Part


class ScoringPlan(Part):
    """A scoring as it was settled on submission: an alias that moves later changes nothing."""

    model: Name
    version: Count
    dataset: str  # name@version
    keep: tuple[str, ...]  # columns that lie beside the predictions
    register_as: Name | None = None  # the data set that the predictions become a version of
