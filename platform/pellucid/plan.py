"""The plan: everything that decides a training run, as pure data.

A plan is YAML or JSON. Parts that come in kinds (split, model, optimizer, ...) are unions tagged
by `kind`; each kind has a builder in `pellucid_pipelines`, and a contract test holds the two
together. `resolve` fills in what depends on the data, so that the logged plan reproduces the run.
"""

from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pellucid.errors import InvalidPlan
from pellucid.schema import Kind, Role, Schema

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


class Plan(Part):
    """A training run, whole."""

    name: Annotated[Name, Field(description="The registered model's name.")]
    data: Data
    target: Annotated[str | None, Field(description="Default: the column with role target.")] = None
    task: Literal["auto", "classification", "regression"] = "auto"
    positive_class: Annotated[
        str | None, Field(description="Binary: which class is scored. Default: the last, sorted.")
    ] = None
    split: Split | None = Field(
        default=None,
        description="Default: time with a time column, else stratified (classification), random.",
    )
    preprocessing: Preprocessing = Preprocessing()
    model: Model = Mlp()
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Cosine()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    gates: Gates = Gates()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The plan that a mapping describes.

        Raises:
            InvalidPlan: a key is unknown or a value not allowed; all of them are listed.
        """
        if not isinstance(value, dict):
            raise InvalidPlan(f"A plan is a mapping, not {type(value).__name__}.")
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _invalid(error) from error

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The plan in a YAML or JSON text.

        Raises:
            InvalidPlan: the text is neither, or the plan is wrong.
        """
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidPlan(f"The plan is neither YAML nor JSON: {error}.") from error
        return cls.parse(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The plan's JSON Schema (draft 2020-12), with every default."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | cls.model_json_schema()


def _invalid(error: ValidationError) -> InvalidPlan:
    problems = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f"{path}: unknown key")
        else:
            problems.append(f"{path}: {item['msg']} (got {item['input']!r:.80})")
    paths = [".".join(str(part) for part in item["loc"]) for item in error.errors()]
    return InvalidPlan(
        "; ".join(problems) + ".",
        where={"path": paths[0] if len(paths) == 1 else paths},
        remedy="`pellucid train --schema` or GET /v1/schemas/plan lists every key and its values.",
    )


def resolve(plan: Plan, schema: Schema, classes: int | None = None) -> tuple[Plan, Schema]:
    """The plan with every default that depends on the data, and the schema with final roles.

    Args:
        plan: as submitted.
        schema: of the data version.
        classes: distinct values of the target, where the profile knows them; decides `task: auto`
            for an integer target (at most 20 distinct values is classification).

    Raises:
        InvalidPlan: a column is unknown, or has the wrong kind for what it is asked to do.
    """
    schema = schema.with_roles(plan.data.roles)
    target = plan.target or _only_target(schema)
    _require_column(schema, target, "target")
    schema = schema.with_roles({target: Role.TARGET}, path="target")
    schema = schema.with_roles(
        {c.name: Role.IGNORE for c in schema.having(Role.TARGET) if c.name != target}
    )
    if not schema.having(Role.FEATURE):
        raise InvalidPlan("No column is left as a feature.", where={"path": "data.roles"})
    task = _task(plan, schema, target, classes)
    _require_scores(plan.gates, task)
    split = _split(plan, schema, task)
    return plan.model_copy(update={"target": target, "task": task, "split": split}), schema


def _only_target(schema: Schema) -> str:
    targets = [column.name for column in schema.having(Role.TARGET)]
    if len(targets) == 1:
        return targets[0]
    raise InvalidPlan(
        "The plan names no target, and the data set "
        + (f"has several: {', '.join(targets)}." if targets else "has no column with that role."),
        where={"path": "target"},
        remedy=f"Set `target` to one of: {', '.join(schema.names)}.",
    )


def _require_column(schema: Schema, name: str, path: str) -> None:
    if name not in schema.names:
        raise InvalidPlan(
            f"There is no column {name!r}.",
            where={"path": path},
            remedy=f"The columns are: {', '.join(schema.names)}.",
        )


def _task(
    plan: Plan, schema: Schema, target: str, classes: int | None
) -> Literal["classification", "regression"]:
    column = schema[target]
    discrete = column.kind in (Kind.CATEGORICAL, Kind.BOOLEAN)
    if column.kind is Kind.DATETIME:
        raise InvalidPlan(f"The target {target!r} is a datetime.", where={"path": "target"})
    if plan.task == "regression" and discrete:
        raise InvalidPlan(
            f"The target {target!r} is {column.kind}; regression needs numbers.",
            where={"path": "task"},
            remedy="Use `task: classification`, or register the column with a numeric type.",
        )
    if plan.task != "auto":
        return plan.task
    few = column.type == "int64" and classes is not None and classes <= 20
    return "classification" if discrete or few else "regression"


def _require_scores(gates: Gates, task: str) -> None:
    from pellucid.analysis.scores import SCORES  # numpy: not for every start of the CLI

    names = [name for name, score in SCORES.items() if score.task == task]
    asked = [("gates.metric", gates.metric)] if gates.metric else []
    asked += [(f"gates.at_least.{name}", name) for name in gates.at_least]
    for path, name in asked:
        if name not in names:
            raise InvalidPlan(
                f"There is no {task} score {name!r}.",
                where={"path": path},
                remedy=f"The scores are: {', '.join(names)}.",
            )


def _split(plan: Plan, schema: Schema, task: str) -> Split:
    split = plan.split
    if split is None:
        if schema.having(Role.TIME):
            split = TimeSplit()
        else:
            split = StratifiedSplit() if task == "classification" else RandomSplit()
    if isinstance(split, TimeSplit | GroupSplit):
        role = Role.TIME if isinstance(split, TimeSplit) else Role.ID
        named = split.column or next((c.name for c in schema.having(role)), None)
        if named is None:
            raise InvalidPlan(
                f"A split by {split.kind} needs a column.",
                where={"path": "split.column"},
                remedy=f"Name one, or give a column the role {role}.",
            )
        _require_column(schema, named, "split.column")
        split = split.model_copy(update={"column": named})
    return split
