"""What a reader hands on: a relation, and what is known of its columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import duckdb

from pellucid.errors import InvalidData
from pellucid.schema import Role, StorageType

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


class Form(Enum):
    """How much a format says of a column's type."""

    TEXT = auto()  # nothing: any type may be written in it
    STRING = auto()  # it is a string, though it may spell a date
    TYPED = auto()  # its type


@dataclass(frozen=True)
class SourceColumn:
    """A column as the file has it; `storage` is its type where the form is `TYPED`."""

    name: str
    form: Form
    storage: StorageType = StorageType.STRING

    @property
    def is_object(self) -> bool:
        """Whether its cells are images or lists, which go past DuckDB."""
        return self.storage.is_object


@dataclass(frozen=True)
class Objects:
    """A Parquet file with the columns of images and lists, in the order of the source's rows.

    `named_by` is a column of it that says what a row is called, in errors.
    """

    path: Path
    named_by: str | None = None


@dataclass(frozen=True)
class Source:
    """A file as DuckDB reads it, in the order of its rows.

    `relation` is SQL for a table expression with the columns c0, c1, ...: of type VARCHAR (forms
    text and string), or of a DuckDB type that casts to the column's storage type. Missing values
    are NULL; in the form text, the words in `MISSING` are missing values. Columns of images and of
    lists are not in it, they are in `objects`. `roles` are those that the format itself tells.
    `explain` says what it was in the file that DuckDB could not read.
    """

    file: str
    relation: str
    columns: tuple[SourceColumn, ...]
    explain: Callable[[duckdb.DuckDBPyConnection, duckdb.Error], InvalidData]
    objects: Objects | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)


def unreadable(file: str, error: duckdb.Error) -> InvalidData:
    """The error for a file that DuckDB cannot read, in its first words."""
    return InvalidData(
        f"The file cannot be read: {str(error).splitlines()[0]}",
        where={"file": file},
        remedy="It may be damaged, or hold a cell that is far too large: write it again.",
    )


def check_names(names: list[str], file: str) -> None:
    """Names must be there, and differ.

    Raises:
        InvalidData: a name is empty or comes twice.
    """
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        where = {"file": file, "row": "header", "column": position}
        if not name.strip():
            raise InvalidData(
                f"Column {position} has no name.",
                where=where,
                remedy="Name every column in the header; remove a delimiter at the line's end.",
            )
        if name in seen:
            raise InvalidData(
                f"The column name {name!r} comes twice.",
                where=where,
                remedy="Give every column a name of its own.",
            )
        seen.add(name)
