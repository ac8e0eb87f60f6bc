"""What a reader hands on: a relation, and what is known of its columns."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import duckdb

from pellucid.errors import InvalidData
from pellucid.schema import StorageType

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


@dataclass(frozen=True)
class Source:
    """A file as DuckDB reads it, in the order of its rows.

    `relation` is SQL for a table expression with the columns c0, c1, ...: of type VARCHAR (forms
    text and string), or of a DuckDB type that casts to the column's storage type. Missing values
    are NULL; in the form text, the words in `MISSING` are missing values.
    `explain` says what it was in the file that DuckDB could not read.
    """

    file: str
    relation: str
    columns: tuple[SourceColumn, ...]
    explain: Callable[[duckdb.DuckDBPyConnection, duckdb.Error], InvalidData]


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
