"""Whose groups a plan compares, by which criterion, and what is done for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from pellucid.errors import InvalidPlan
from pellucid.plan.base import Count, Part, Positive
from pellucid.schema import Kind, Role, Schema

if TYPE_CHECKING:
    from pellucid.plan.document import Plan

Criterion = Literal["equalized_odds", "equal_opportunity", "demographic_parity"]
"""What groups should have in common: equalized_odds the true and the false positive rate,
equal_opportunity the true positive rate, demographic_parity the share of positive decisions."""

_GROUPED = (Kind.CATEGORICAL, Kind.BOOLEAN, Kind.NUMERIC)


class NoMitigation(Part):
    """Only measured."""

    kind: Literal["none"] = "none"


class Reweighing(Part):
    """Rows weigh P(group) P(class) / P(group, class) in the loss: under these weights, group and
    class are independent (Kamiran and Calders, 2012)."""

    kind: Literal["reweighing"] = "reweighing"


class GroupDro(Part):
    """The group that does worst weighs most: weights of groups grow exponentially with their loss
    (Sagawa et al., 2020). The best epoch is that of the worst group's lowest validation loss."""

    kind: Literal["group_dro"] = "group_dro"
    rate: Annotated[Positive, Field(description="How fast the groups' weights follow.")] = 0.01
    by_class: Annotated[
        bool, Field(description="Groups are those of the columns within each class.")
    ] = True


class Adversarial(Part):
    """A second network tells the group from the outputs, and the network learns not to let it
    (Zhang, Lemoine and Mitchell, 2018), by gradient reversal (Ganin et al., 2016). For
    equalized_odds it is told the class; for equal_opportunity it sees one class alone."""

    kind: Literal["adversarial"] = "adversarial"
    strength: Annotated[Positive, Field(description="Of its gradient in the network.")] = 1.0
    width: Annotated[Count, Field(description="Of its hidden layer.")] = 32
    lr: Annotated[Positive, Field(description="Of the adversary: it must follow.")] = 1e-2


class Thresholds(Part):
    """Each group's own threshold on the probability of the positive class, inside the model file.

    They are chosen on the validation part: of all combinations whose gap is within the tolerance,
    the best one (Hardt, Price and Srebro, 2016; Cruz and Hardt, 2024). Probabilities stay as they
    are. The columns become inputs of the model, which nothing but the label depends on.
    """

    kind: Literal["thresholds"] = "thresholds"
    tolerance: Annotated[
        float, Field(ge=0, lt=1, description="Largest gap on the validation part.")
    ] = 0.02
    objective: Annotated[
        Literal["accuracy", "balanced_accuracy"], Field(description="What is best.")
    ] = "accuracy"


Mitigation = Annotated[
    NoMitigation | Reweighing | GroupDro | Adversarial | Thresholds, Field(discriminator="kind")
]


Columns = Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]
Name = Literal["none", "reweighing", "group_dro", "adversarial", "thresholds"]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _tagged(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class Fairness(Part):
    """Groups of people that the model should treat alike."""

    column: Annotated[
        Columns,
        BeforeValidator(_listed, json_schema_input_type=str | Columns),
        Field(description="Sensitive; several: their intersections."),
    ]
    edges: Annotated[
        dict[str, tuple[FiniteFloat, ...]],
        Field(description="Of numbers: {age: [25, 60]} gives up to 25, above 25 to 60, above 60."),
    ] = Field(default_factory=dict)
    criterion: Annotated[
        Criterion,
        Field(
            description="What groups have in common: equalized_odds the true and the false "
            "positive rate, equal_opportunity the true positive rate, demographic_parity the "
            "share of positive decisions; positive is evaluation.favourable."
        ),
    ] = "equalized_odds"
    min_rows: Annotated[
        Count, Field(description="Groups with fewer rows of a class are not compared.")
    ] = 10
    mitigation: Annotated[
        Mitigation,
        BeforeValidator(_tagged, json_schema_input_type=Name | Mitigation),
        Field(description="Its name will do."),
    ] = NoMitigation()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.column)) < len(self.column):
            raise ValueError("a column comes twice")
        for name, edges in self.edges.items():
            if name not in self.column:
                raise ValueError(f"edges: {name!r} is not one of the columns")
            if not edges or list(edges) != sorted(set(edges)):
                raise ValueError(f"edges of {name!r} must rise, and there must be one")
        return self


def settle(plan: "Plan", schema: Schema, task: str, modality: str, classes: int | None) -> "Plan":
    """The plan with what its fairness asks of its other parts.

    Args:
        plan: as submitted: the defaults of its network come later.
        schema: with final roles.
        task: classification or regression.
        modality: of the inputs.
        classes: of the target, where they are known.

    Raises:
        InvalidPlan: a column cannot tell groups, or the task or another part does not go with it.
    """
    fairness = plan.fairness
    if fairness is None:
        return plan
    for path, why, remedy in (
        *_wrong_columns(fairness, schema),
        *_wrong_task(plan, fairness, task, classes),
        *_wrong_parts(plan, fairness.mitigation, modality),
    ):
        raise InvalidPlan(why, where={"path": path}, remedy=remedy)
    if not isinstance(fairness.mitigation, Thresholds):
        return plan
    # What the thresholds are chosen on must stay unseen, whatever the network's default is.
    unseen = plan.training.model_copy(update={"refit": 0.0})
    return plan.model_copy(update={"training": unseen})


_Problems = Iterator[tuple[str, str, str]]
"""Path in the plan, what is wrong there, what to do."""


def _wrong_columns(fairness: Fairness, schema: Schema) -> _Problems:
    sensitive = [column.name for column in schema.having(Role.SENSITIVE)]
    listed = f"The sensitive columns are: {', '.join(sensitive) or '(none)'}."
    for name in fairness.column:
        path = "fairness.column"
        if name not in schema.names:
            yield path, f"There is no column {name!r}.", listed
            continue
        column = schema[name]
        if column.role is not Role.SENSITIVE:
            remedy = f"Set data.roles: {{{name}: sensitive}}. {listed}"
            yield path, f"The column {name!r} is {column.role}, not sensitive.", remedy
        if column.kind not in _GROUPED:
            remedy = "Name a column of strings, booleans or numbers."
            yield path, f"The column {name!r} is {column.kind}, which tells no groups.", remedy
        numeric, cut = column.kind is Kind.NUMERIC, name in fairness.edges
        if numeric and not cut:
            remedy = f"Set fairness.edges, such as {{{name}: [25]}}."
            yield "fairness.edges", f"The numbers of {name!r} are not cut into groups.", remedy
        if cut and not numeric:
            remedy = "Leave its edges out: each of its values is a group."
            yield f"fairness.edges.{name}", f"{name!r} is {column.kind}, not numeric.", remedy


def _wrong_task(plan: "Plan", fairness: Fairness, task: str, classes: int | None) -> _Problems:
    if task == "regression":
        why = "Its criteria are about decisions, and a regression makes none."
        yield "fairness", why, "Leave it out; scores by group are reported all the same."
    two = isinstance(fairness.mitigation, Thresholds) or fairness.criterion == "equal_opportunity"
    if two and classes is not None and classes > 2:
        why = f"A threshold and a positive class are of two classes; there are {classes}."
        yield "fairness", why, "Use another mitigation with another criterion, or two classes."
    if plan.data.windows is not None:
        why = "Rows of windows have no groups: a sequence is made of many rows."
        yield "fairness", why, "Leave it out, or register one row for each sequence."


def _wrong_parts(plan: "Plan", mitigation: Part, modality: str) -> _Problems:
    if isinstance(mitigation, GroupDro | Adversarial) and plan.regularization.mixup:
        why = "mixup mixes rows of different groups."
        yield "regularization.mixup", why, "Set it to 0."
    if not isinstance(mitigation, Thresholds):
        return
    if plan.cross_validation is not None:
        why = "Thresholds are chosen on the validation part; with cross-validation there is none."
        yield "cross_validation", why, "Leave it out, or use another mitigation."
    if modality != "tabular":
        why = f"Thresholds of groups are for tables; this is {modality}."
        yield "fairness.mitigation", why, "Use a mitigation in training."
    if plan.training.refit:
        why = "Thresholds are chosen on validation rows, which a refit would learn from."
        yield "training.refit", why, "Leave it out, or set it to 0."
