"""The data of a plan: which data set, how it is cut, and how raw columns become tensors."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pellucid.plan.base import Count, Part, Share
from pellucid.schema import Constraint, Role


class Windows(Part):
    """A long table, one row per step, as sequences.

    With `horizon` 0 each `id` is one sequence, its target the value of its last row. With a
    horizon, windows of `steps` rows slide over each series, and the target is the next `horizon`
    values of the target column.
    """

    id: Annotated[str | None, Field(description="Default: the column with role id.")] = None
    time: Annotated[str | None, Field(description="Default: the column with role time.")] = None
    steps: Annotated[int, Field(ge=1, le=4096, description="Most steps of one sequence.")] = 64
    horizon: Annotated[int, Field(ge=0, le=512, description="Steps to forecast.")] = 0
    stride: Annotated[Count, Field(description="Steps between windows that follow another.")] = 1


class Data(Part):
    """Which data set, and what its columns are for."""

    dataset: Annotated[
        str, Field(description="A name (`credit`), a name's version (`credit@3`) or a SHA-256.")
    ]
    roles: Annotated[dict[str, Role], Field(description="Roles other than the data set's own.")] = (
        Field(default_factory=dict)
    )
    constraints: Annotated[
        dict[str, Constraint],
        Field(
            description="What counterfactuals may make of a column, in place of the data set's own "
            "constraint: {age: {change: never}}."
        ),
    ] = Field(default_factory=dict)
    windows: Annotated[
        Windows | None, Field(description="For long tables: one row per step of a sequence.")
    ] = None


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


class Images(Part):
    """How encoded images become pixels."""

    size: Annotated[
        tuple[Count, Count] | None,
        Field(
            description="Height and width. Default: those of the first training image, or in "
            "proportion smaller, so that no side is over 128."
        ),
    ] = None
    channels: Annotated[
        Literal[1, 3] | None, Field(description="Default: 1 where all training images are grey.")
    ] = None
    frames: Annotated[Count, Field(description="Frames of an animated image that are used.")] = 1


class Sequences(Part):
    """How list columns become steps."""

    steps: Annotated[
        int | None,
        Field(ge=1, le=4096, description="Of longer ones the last count. Default: the longest."),
    ] = None
    scaling: Literal["standardize", "none"] = "standardize"


class Texts(Part):
    """How a text becomes tokens: byte-pair encoding trained on the training rows."""

    vocabulary: Annotated[int, Field(ge=64, le=200_000)] = 8000
    length: Annotated[int, Field(ge=1, le=4096, description="Most tokens of one text.")] = 256
    lowercase: bool = True


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
    image: Images = Images()
    sequence: Sequences = Sequences()
    text: Texts = Texts()
