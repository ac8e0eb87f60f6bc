"""What a data set's columns are: their kind, their role, and the model's inputs."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from pellucid.errors import InvalidPlan


class Kind(StrEnum):
    """What a column's values are.

    numeric: 64-bit integers or floats. boolean. datetime: microseconds, UTC.
    categorical: strings; numbers that are codes become categorical by a type override.
    text: strings that a network reads word by word: which of the two a plan's model tells.
    image: PNG, JPEG or another encoded image. sequence: lists of 64-bit floats.
    tensor: an input of a model that was made elsewhere; no column is one.
    """

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    CATEGORICAL = "categorical"
    TEXT = "text"
    IMAGE = "image"
    SEQUENCE = "sequence"
    TENSOR = "tensor"


class StorageType(StrEnum):
    """The canonical Arrow types; every column is stored as one of them."""

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    TIMESTAMP = "timestamp[us]"
    STRING = "string"
    BINARY = "binary"
    LIST = "list<float64>"

    @property
    def kind(self) -> Kind:
        """The kind that values of this type have."""
        return _KIND_OF[self]

    @property
    def is_object(self) -> bool:
        """Whether a value is an image or a list, and no scalar."""
        return self in (StorageType.BINARY, StorageType.LIST)


_KIND_OF = {
    StorageType.INT64: Kind.NUMERIC,
    StorageType.FLOAT64: Kind.NUMERIC,
    StorageType.BOOL: Kind.BOOLEAN,
    StorageType.TIMESTAMP: Kind.DATETIME,
    StorageType.STRING: Kind.CATEGORICAL,
    StorageType.BINARY: Kind.IMAGE,
    StorageType.LIST: Kind.SEQUENCE,
}


class Role(StrEnum):
    """What a column is for.

    feature: the network's input. target: what is predicted. sensitive: never an input, but
    results are reported by its groups. ignore: kept, not used. id: names the row or its group.
    time: orders the rows. weight: how much a row counts in training and in scores.
    """

    FEATURE = "feature"
    TARGET = "target"
    SENSITIVE = "sensitive"
    IGNORE = "ignore"
    ID = "id"
    TIME = "time"
    WEIGHT = "weight"


class Change(StrEnum):
    """In which direction a counterfactual may change a column."""

    FREE = "free"
    NEVER = "never"
    INCREASE = "increase"
    DECREASE = "decrease"


class Constraint(BaseModel):
    """What a counterfactual may make of a feature.

    Features change freely within the training rows' range unless something else is said; times
    only change where a constraint says that they may.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: Annotated[
        Change, Field(description="increase, decrease: of numbers, booleans and times.")
    ] = Change.FREE
    low: Annotated[FiniteFloat | None, Field(description="Least value of a changed number.")] = None
    high: Annotated[FiniteFloat | None, Field(description="Largest value of one.")] = None

    @model_validator(mode="after")
    def _leave_a_range(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    @property
    def ordered(self) -> bool:
        """Whether it only makes sense for values that have an order."""
        directed = self.change in (Change.INCREASE, Change.DECREASE)
        return directed or self.low is not None or self.high is not None

    def misfit(self, column: "Column") -> tuple[str, str] | None:
        """Why a column cannot have it, and what to do; None if it can."""
        if self.change is Change.NEVER:
            return None
        if column.role is not Role.FEATURE:
            why = f"The column {column.name!r} is no feature but {column.role}: it never changes."
            return why, "Leave it out."
        if column.type.is_object:
            why = (
                f"The column {column.name!r} holds values of kind {column.kind}: it never changes."
            )
            return why, "Leave it out."
        if self.ordered and column.type is StorageType.STRING:
            why = f"The column {column.name!r} holds strings, which have no order."
            return why, "Use change: free or never, without low and high."
        return None


class Column(BaseModel):
    """One column of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    type: StorageType
    role: Role = Role.FEATURE
    constraint: Constraint | None = None  # on counterfactuals

    @property
    def kind(self) -> Kind:
        """What the column's values are."""
        return self.type.kind


class Schema(BaseModel):
    """The columns of a data set, in order. Names are unique."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def having(self, role: Role) -> tuple[Column, ...]:
        """The columns with this role, in order."""
        return tuple(column for column in self.columns if column.role == role)

    def with_roles(self, roles: Mapping[str, Role], *, path: str = "data.roles") -> Self:
        """The same columns with some roles replaced.

        Raises:
            InvalidPlan: `roles` names a column that is not there.
        """
        self._require(roles, path)
        return self._with("role", roles)

    def with_constraints(
        self, constraints: Mapping[str, Constraint], *, path: str = "data.constraints"
    ) -> Self:
        """The same columns with some constraints replaced; roles are final.

        Raises:
            InvalidPlan: `constraints` names a column that is not there, or that cannot have its
                constraint.
        """
        self._require(constraints, path)
        for name, constraint in constraints.items():
            if misfit := constraint.misfit(self[name]):
                why, remedy = misfit
                raise InvalidPlan(why, where={"path": f"{path}.{name}"}, remedy=remedy)
        return self._with("constraint", constraints)

    def _require(self, names: Iterable[str], path: str) -> None:
        for name in names:
            if name not in self.names:
                raise InvalidPlan(
                    f"There is no column {name!r}.",
                    where={"path": f"{path}.{name}"},
                    remedy=f"The columns are: {', '.join(self.names)}.",
                )

    def _with(self, field: str, values: Mapping[str, object]) -> Self:
        columns = tuple(
            column.model_copy(update={field: values[column.name]})
            if column.name in values
            else column
            for column in self.columns
        )
        return self.model_copy(update={"columns": columns})
