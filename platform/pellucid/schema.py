"""What a data set's columns are: their kind, their role, and the model's inputs."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

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


class Column(BaseModel):
    """One column of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    type: StorageType
    role: Role = Role.FEATURE

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

    def with_roles(self, roles: dict[str, Role], *, path: str = "data.roles") -> Self:
        """The same columns with some roles replaced.

        Raises:
            InvalidPlan: `roles` names a column that is not there.
        """
        for name in roles:
            if name not in self.names:
                raise InvalidPlan(
                    f"There is no column {name!r}.",
                    where={"path": f"{path}.{name}"},
                    remedy=f"The columns are: {', '.join(self.names)}.",
                )
        return self.model_copy(
            update={
                "columns": tuple(
                    column.model_copy(update={"role": roles.get(column.name, column.role)})
                    for column in self.columns
                )
            }
        )
