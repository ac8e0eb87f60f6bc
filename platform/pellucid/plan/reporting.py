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
    favourable: Annotated[
        str | None,
        Field(
            description="The class that is good for whoever gets it, whose rates groups are "
            "compared by. Default: the positive class; of several, each in turn."
        ),
    ] = None


class Explanation(Part):
    """SHAP values in the raw columns: of test rows, and in the bundle for every prediction."""

    method: Annotated[
        Literal["auto", "deep", "gradients", "exact", "permutation"],
        Field(
            description="auto: DeepSHAP where its values add up, which they do for tables and "
            "images unless a network has attention or norms over a row; else expected gradients. "
            "exact: Shapley values of tables of at most 12 columns. permutation: of the test rows "
            "only, as the `shap` package gives them; predictions are explained by auto's."
        ),
    ] = "auto"
    background: Annotated[int, Field(ge=1, le=1000, description="Training rows compared to.")] = 100
    background_choice: Annotated[
        Literal["stratified", "kmeans", "random"],
        Field(
            description="stratified: by the target. kmeans: the rows next to the centres of "
            "clusters, weighted: fewer say as much."
        ),
    ] = "stratified"
    rows: Annotated[int, Field(ge=1, le=100_000, description="Test rows explained.")] = 256
    amortized: Annotated[
        bool,
        Field(
            description="Also train a small network to give the SHAP values in one forward pass."
        ),
    ] = False


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
