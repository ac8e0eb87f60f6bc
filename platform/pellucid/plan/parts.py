"""The parts of a plan. Those that come in kinds are unions tagged by `kind`."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pellucid.schema import Role

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Part(BaseModel):
    """A part of a plan: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Part):
    """Which data set, and what its columns are for."""

    dataset: Annotated[
        str, Field(description="A name (`credit`), a name's version (`credit@3`) or a SHA-256.")
    ]
    roles: Annotated[dict[str, Role], Field(description="Roles other than the data set's own.")] = (
        Field(default_factory=dict)
    )


class _Split(Part):
    validation: Annotated[Share, Field(description="Share of rows that choose when to stop.")] = 0.2
    test: Annotated[Share, Field(description="Share of rows that are only ever scored.")] = 0.2

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.validation <= 0 or self.test <= 0:
            raise ValueError("validation and test must both be above 0")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on")
        return self


class RandomSplit(_Split):
    """Rows at random."""

    kind: Literal["random"] = "random"


class StratifiedSplit(_Split):
    """Rows at random within each class (or target quintile)."""

    kind: Literal["stratified"] = "stratified"


class TimeSplit(_Split):
    """The newest rows are the test part, the next newest the validation part."""

    kind: Literal["time"] = "time"
    column: Annotated[str | None, Field(description="Default: the column with role time.")] = None


class GroupSplit(_Split):
    """All rows of a group fall into one part."""

    kind: Literal["group"] = "group"
    column: Annotated[str | None, Field(description="Default: the column with role id.")] = None


Split = Annotated[
    RandomSplit | StratifiedSplit | TimeSplit | GroupSplit, Field(discriminator="kind")
]


class Standardize(Part):
    """To mean 0 and variance 1."""

    kind: Literal["standardize"] = "standardize"


class MinMax(Part):
    """To the interval from 0 to 1 on the training part; values outside it are clipped."""

    kind: Literal["minmax"] = "minmax"


class Quantile(Part):
    """To a normal distribution, through the training part's quantiles; robust to outliers."""

    kind: Literal["quantile"] = "quantile"
    quantiles: Annotated[int, Field(ge=2, le=1000)] = 100


Scaling = Annotated[Standardize | MinMax | Quantile, Field(discriminator="kind")]


class Preprocessing(Part):
    """How raw columns become numbers; fitted on the training part only."""

    numeric: Scaling = Standardize()
    impute: Annotated[
        Literal["median", "mean"], Field(description="Missing numbers; a flag column marks them.")
    ] = "median"
    categorical: Literal["onehot"] = "onehot"
    min_count: Annotated[
        int, Field(ge=1, description="Rarer categories fall into the `unknown` bucket.")
    ] = 2
    max_categories: Annotated[int, Field(ge=2, description="Most categories of one column.")] = 256


class Mlp(Part):
    """A multilayer perceptron."""

    kind: Literal["mlp"] = "mlp"
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=1)] = (
        128,
        128,
    )
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "relu"
    dropout: Share = 0.1
    norm: Literal["none", "batch", "layer"] = "none"


Model = Mlp  # the tagged union of architectures, once there is more than one


class AdamW(Part):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    betas: tuple[Share, Share] = (0.9, 0.999)


class Sgd(Part):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: Positive = 1e-2
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


Optimizer = Annotated[AdamW | Sgd, Field(discriminator="kind")]


class Constant(Part):
    """The same learning rate throughout."""

    kind: Literal["constant"] = "constant"


class Cosine(Part):
    """Linear warm-up, then half a cosine down to `floor` times the learning rate."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[Share, Field(description="Share of all steps.")] = 0.05
    floor: Share = 0.01


class OneCycle(Part):
    """Up and down again within one run (Smith and Topin, 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    peak: Annotated[Share, Field(description="Where the peak lies, as a share of all steps.")] = 0.3


class Plateau(Part):
    """Divided when the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(ge=1)] = 5


Schedule = Annotated[Constant | Cosine | OneCycle | Plateau, Field(discriminator="kind")]


class Training(Part):
    """The training loop."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 128
    patience: Annotated[
        int, Field(ge=1, description="Epochs without a better validation loss before stopping.")
    ] = 16
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float | None, Field(gt=0, description="Largest gradient norm.")] = 1.0
    class_weights: Annotated[
        Literal["none", "balanced"], Field(description="Classification only.")
    ] = "none"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="auto: bf16 on CUDA where the card has it, else fp32."),
    ] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    checkpoint_seconds: Annotated[
        float, Field(ge=0, description="At most this much work is lost; checked after each epoch.")
    ] = 5.0


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
        Literal["auto", "deep", "permutation"],
        Field(description="auto: DeepSHAP where it is exact, else permutation."),
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
