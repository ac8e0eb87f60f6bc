"""What of a plan depends on the data: target, task, split and roles."""

from typing import Literal

from pellucid.errors import InvalidPlan
from pellucid.plan import fairness, windows
from pellucid.plan.data import GroupSplit, RandomSplit, Split, StratifiedSplit, TimeSplit
from pellucid.plan.defaults import MODELS, with_defaults
from pellucid.plan.document import Plan
from pellucid.plan.models import Modality, Model
from pellucid.plan.optimization import CrossEntropy, Focal, Loss, Mse
from pellucid.plan.reporting import Gates
from pellucid.plan.search import CrossValidation
from pellucid.schema import Kind, Role, Schema

_EXACT = 12  # columns: 4,096 subsets


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
    for name in plan.serving.log.redact:
        _require_column(schema, name, "serving.log.redact")
    schema = schema.with_roles({target: Role.TARGET}, path="target")
    schema = schema.with_roles(
        {c.name: Role.IGNORE for c in schema.having(Role.TARGET) if c.name != target}
    )
    plan, schema = windows.settle(plan, schema, target)
    schema = schema.with_constraints(plan.data.constraints)
    if not schema.having(Role.FEATURE) and not _forecasts(plan):
        raise InvalidPlan("No column is left as a feature.", where={"path": "data.roles"})
    task = _task(plan, schema, target, classes)
    _require_scores(plan.gates, task)
    modality = _modality(plan, schema)
    plan = fairness.settle(plan, schema, task, modality, classes)
    plan = with_defaults(plan, _model(plan, modality))
    _require_fitting(plan, modality)
    _require_few_columns(plan, schema)
    _require_mixable(plan, modality)
    _require_streamable(plan)
    split = _split(plan, schema, task)
    settled = {
        "target": target,
        "task": task,
        "split": split,
        "cross_validation": _cross_validation(plan, schema, split),
        "modality": modality,
        "loss": _loss(plan, task),
    }
    return plan.model_copy(update=settled), schema


def _forecasts(plan: Plan) -> bool:
    """Whether the target's own past is an input, and its next values are the output."""
    return plan.data.windows is not None and plan.data.windows.horizon > 0


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
    if column.kind in (Kind.DATETIME, Kind.IMAGE):
        raise InvalidPlan(
            f"The target {target!r} is of kind {column.kind}.", where={"path": "target"}
        )
    if plan.task == "classification" and column.kind is Kind.SEQUENCE:
        raise InvalidPlan(
            f"The target {target!r} is a list: its numbers are forecast, not classified.",
            where={"path": "task"},
            remedy="Use `task: regression`.",
        )
    if plan.task == "regression" and discrete:
        raise InvalidPlan(
            f"The target {target!r} is {column.kind}; regression needs numbers.",
            where={"path": "task"},
            remedy="Use `task: classification`, or register the column with a numeric type.",
        )
    if plan.task != "auto":
        return plan.task
    if _forecasts(plan):
        return "regression"
    few = column.type == "int64" and classes is not None and classes <= 20
    return "classification" if discrete or few else "regression"


def _modality(plan: Plan, schema: Schema) -> Modality:
    """What the inputs are: said, or told by the features' kinds and the model."""
    features = schema.having(Role.FEATURE)
    kinds = {column.kind for column in features}
    fitting: Modality = "tabular"
    if kinds == {Kind.IMAGE} and len(features) == 1:
        fitting = "image"
    elif kinds == {Kind.SEQUENCE} or plan.data.windows is not None:
        fitting = "sequence"
    elif kinds == {Kind.CATEGORICAL} and len(features) == 1:
        reads_texts = plan.model is not None and "text" in plan.model.modalities
        if plan.modality == "text" or reads_texts:
            fitting = "text"
    asked = plan.modality
    wrong = asked not in ("auto", fitting) or (
        fitting == "tabular" and kinds & {Kind.IMAGE, Kind.SEQUENCE}
    )
    if wrong:
        listed = ", ".join(f"{column.name} ({column.kind})" for column in features[:20])
        what = asked if asked != "auto" else "kind of"
        raise InvalidPlan(
            f"These features are not one {what} input: {listed}.",
            where={"path": "modality"},
            remedy="One image column, one text column, list columns only, or none of these; give "
            "the others the role ignore.",
        )
    return fitting


def _model(plan: Plan, modality: Modality) -> Model:
    model: Model = plan.model if plan.model is not None else MODELS[modality]()
    if modality not in model.modalities:
        raise InvalidPlan(
            f"A {model.kind} takes {' or '.join(model.modalities)} input; this is {modality}.",
            where={"path": "model.kind"},
            remedy=f"Leave `model` out for the default, {MODELS[modality]().kind}, or see "
            "`pellucid train --schema`.",
        )
    return model


def _require_fitting(plan: Plan, modality: Modality) -> None:
    """What is for one kind of input only must not be asked for with another."""
    method = plan.explanation.method
    if modality != "tabular" and method not in ("auto", "gradients"):
        raise InvalidPlan(
            f"The explanation method {method} is one of tabular data; this is {modality}.",
            where={"path": "explanation.method"},
            remedy="Use `gradients`, or leave it out.",
        )
    if modality != "tabular" and plan.explanation.amortized:
        raise InvalidPlan(
            f"Only explanations of tables can be amortised; this is {modality}.",
            where={"path": "explanation.amortized"},
            remedy="Leave it out.",
        )
    changes = [name for name, value in plan.augmentation if value]
    if modality != "image" and changes:
        raise InvalidPlan(
            f"Only images can be augmented; this is {modality}.",
            where={"path": f"augmentation.{changes[0]}"},
            remedy="Leave `augmentation` out.",
        )


def _require_few_columns(plan: Plan, schema: Schema) -> None:
    """Exact Shapley values need the prediction of every subset of the columns."""
    count = len(schema.having(Role.FEATURE))
    if plan.explanation.method == "exact" and count > _EXACT:
        raise InvalidPlan(
            f"Exact Shapley values are for at most {_EXACT} columns; these are {count}.",
            where={"path": "explanation.method"},
            remedy="Use `auto`, or leave it out.",
        )


def _loss(plan: Plan, task: str) -> Loss:
    classification = task == "classification"
    if plan.loss is None:
        return CrossEntropy() if classification else Mse()
    if isinstance(plan.loss, CrossEntropy | Focal) != classification:
        raise InvalidPlan(
            f"The loss {plan.loss.kind} is not one of a {task}.",
            where={"path": "loss.kind"},
            remedy="Use cross_entropy or focal."
            if classification
            else "Use mse, mae, huber or quantile.",
        )
    return plan.loss


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


def _require_mixable(plan: Plan, modality: Modality) -> None:
    if plan.regularization.mixup and modality == "text":
        raise InvalidPlan(
            "mixup mixes numbers; the tokens of two texts have no mean.",
            where={"path": "regularization.mixup"},
            remedy="Set it to 0; raise model.dropout instead.",
        )


def streamable(plan: Plan) -> bool:
    """Whether a plan needs no more of its data at once than a batch."""
    return plan.cross_validation is None and plan.data.windows is None


def _require_streamable(plan: Plan) -> None:
    if plan.training.data_in == "stream" and not streamable(plan):
        path = "cross_validation" if plan.cross_validation else "data.windows"
        raise InvalidPlan(
            f"`{path}` needs all rows in memory; they cannot be streamed.",
            where={"path": "training.data_in"},
            remedy=f"Set training.data_in to auto or host, or leave out `{path}`.",
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


def _cross_validation(plan: Plan, schema: Schema, split: Split) -> CrossValidation | None:
    chosen = plan.cross_validation
    if chosen is None:
        return None
    if isinstance(split, TimeSplit):
        raise InvalidPlan(
            "Folds would learn from the future of the rows that they are scored on.",
            where={"path": "cross_validation"},
            remedy="Leave it out, or split by group or at random, if time does not matter.",
        )
    kind = chosen.kind or ("group" if isinstance(split, GroupSplit) else "stratified")
    if kind != "group":
        if chosen.group is not None:
            raise InvalidPlan(
                f"A {kind} cross-validation has no group.",
                where={"path": "cross_validation.group"},
                remedy="Leave it out, or set cross_validation.kind to group.",
            )
        return chosen.model_copy(update={"kind": kind})
    ids = [column.name for column in schema.having(Role.ID)]
    group = chosen.group or getattr(split, "column", None) or (ids[0] if ids else None)
    if group is None:
        raise InvalidPlan(
            "A cross-validation by group needs a column.",
            where={"path": "cross_validation.group"},
            remedy=f"Name one, or give a column the role {Role.ID}.",
        )
    _require_column(schema, group, "cross_validation.group")
    return chosen.model_copy(update={"kind": kind, "group": group})
