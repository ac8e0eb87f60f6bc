"""What a plan wants to know of the trained network: scores, explanations, gates."""

from typing import Annotated, Literal

from pydantic import Field

from pellucid.plan.base import Part


class Evaluation(Part):
    """Scores on the test part, with bootstrap intervals."""

    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_group: Annotated[
        int, Field(ge=1, description="Smaller sensitive groups are reported without a verdict.")
    ] = 20


class Explanation(Part):
    """SHAP values on test rows, in the raw columns."""

    method: Annotated[
        Literal["auto", "deep", "permutation", "gradients"],
        Field(
            description="auto: DeepSHAP where it is exact, else permutation; of images, sequences "
            "and texts expected gradients, the only one that they take."
        ),
    ] = "auto"
    background: Annotated[int, Field(ge=1, le=1000, description="Training rows compared to.")] = 100
    rows: Annotated[int, Field(ge=1, le=100_000, description="Test rows explained.")] = 256


class Gates(Part):
    """When a new version becomes `champion`. The first good version always does."""

    metric: Annotated[
        str | None,
        Field(description="Default: roc_auc (binary), log_loss (multiclass), rmse (regression)."),
    ] = None
    promote: Annotated[
        Literal["never", "not_worse", "better"],
        Field(
            description="not_worse, better: on the same test rows, the paired bootstrap interval "
            "of the difference to the champion does not exclude (lies wholly above) equality."
        ),
    ] = "never"
    at_least: Annotated[
        dict[str, float],
        Field(description="Bounds a good version meets: {accuracy: 0.7}; {rmse: 60} is a maximum."),
    ] = Field(default_factory=dict)
