"""The plans of jobs that take one version of a model over the rows of one data set version."""

from typing import ClassVar

from pellucid.plan.base import Count, Name, Part
from pellucid.resources.jobs import ExplanationMethod


class BatchPlan(Part):
    """What was settled on submission: an alias that moves later changes nothing."""

    answers: ClassVar[str]
    """What the job makes, as the end of a URL and the name of a file."""

    model: Name
    version: Count
    dataset: str  # name@version
    keep: tuple[str, ...]  # columns that lie beside the answers
    register_as: Name | None = None  # the data set that the answers become a version of


class ScoringPlan(BatchPlan):
    """Predictions for every row."""

    answers = "predictions"


class ExplanationPlan(BatchPlan):
    """SHAP values for every row, or for a sample.

    Methods: `graph` is the bundle's explain.onnx. `permutation` is shap's explainer over the
    model. `auto` is the graph, and for a row whose gap is above the manifest's tolerance more steps
    on the path, where the graph has any, then permutations.
    """

    answers = "explanations"

    method: ExplanationMethod
    rows: Count | None = None  # of a sample; None: all
    permutations: Count  # there and back
