"""JSON lines: one object a line, its keys in any order, absent keys missing.

Arrays of numbers are lists; what of them is needed goes into a Parquet file of their own.
"""

from pathlib import Path

import duckdb

from pellucid.datasets.encodings import as_utf8, check_lines
from pellucid.datasets.engine import first_row, literal
from pellucid.datasets.readers.source import (
    MISSING,
    Form,
    Objects,
    Source,
    SourceColumn,
    check_names,
    unreadable,
)
from pellucid.errors import InvalidData
from pellucid.schema import StorageType

_MIN_OBJECT = 2**24
_NUMBERS = "'UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE', 'NULL'"
_EXAMPLE = 'Write one object a line: {"age": 41, "job": "nurse"}.'


def open_json_lines(
    engine: duckdb.DuckDBPyConnection, path: Path, file: str, scratch: Path, max_cell_bytes: int
) -> Source:
    """The relation of a JSON lines file; columns in the order in which keys first appear.

    Raises:
        InvalidData: a line is not an object, or a value is an object or an array that holds
            something else than numbers.
    """
    text = as_utf8(path, scratch / "text.jsonl", file)
    size = max(_MIN_OBJECT, 2 * max_cell_bytes)
    check_lines(text, size, file)
    objects = (
        f"read_json_objects({literal(str(text))}, format='newline_delimited', "
        f"maximum_object_size={size}, ignore_errors=true)"  # NULL for a line that is no JSON
    )
    _check_objects(engine, objects, file)
    names = _keys(engine, objects, file)
    check_names(names, file)
    relation = _values(objects, names)
    forms = _forms(engine, relation, names, file)
    lists = {i: names[i] for i, form in enumerate(forms) if form is Form.TYPED}
    texts = [f"{_text(i, form)} AS c{i}" for i, form in enumerate(forms) if i not in lists]
    return Source(
        file,
        f"(SELECT {', '.join(texts) or 'NULL'} FROM {relation})",
        tuple(
            SourceColumn(name, form, StorageType.LIST if i in lists else StorageType.STRING)
            for i, (name, form) in enumerate(zip(names, forms, strict=True))
        ),
        lambda _, error: unreadable(file, error),
        _lists(engine, relation, lists, file, scratch) if lists else None,
    )


def _check_objects(engine: duckdb.DuckDBPyConnection, objects: str, file: str) -> None:
    found = first_row(
        engine,
        "SELECT row, left(json, 80) FROM (SELECT row_number() OVER () AS row, json "
        f"FROM {objects}) WHERE json IS NULL OR json_type(json) <> 'OBJECT' LIMIT 1",
    )
    if found is not None:
        row, text = found
        raise InvalidData(
            f"The line is not an object: {text}" if text else "The line is not valid JSON.",
            where={"file": file, "row": row},
            remedy=_EXAMPLE,
        )


def _keys(engine: duckdb.DuckDBPyConnection, objects: str, file: str) -> list[str]:
    found = engine.execute(
        "SELECT key FROM (SELECT row, unnest(keys) AS key, unnest(range(len(keys))) AS position "
        "FROM (SELECT row_number() OVER () AS row, json_keys(json) AS keys "
        f"FROM {objects})) GROUP BY key ORDER BY min(row), min(position)"
    ).fetchall()
    if not found:
        raise InvalidData(
            "The objects have no keys: there are no columns.",
            where={"file": file},
            remedy=_EXAMPLE,
        )
    return [key for (key,) in found]


def _values(objects: str, names: list[str]) -> str:
    """A relation with the JSON value of each key as v0, v1, ...; each line is parsed once."""
    pointers = ", ".join(
        literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names
    )
    columns = ", ".join(f"v[{index + 1}] AS v{index}" for index in range(len(names)))
    return f"(SELECT {columns} FROM (SELECT json_extract(json, [{pointers}]) AS v FROM {objects}))"


def _forms(
    engine: duckdb.DuckDBPyConnection, relation: str, names: list[str], file: str
) -> list[Form]:
    """A column whose values are all strings is one; numbers in quotes stay strings.

    Arrays are typed, as lists.

    Raises:
        InvalidData: a value is an object, or one of several in a column is an array.
    """
    kinds = ", ".join(f"list(DISTINCT json_type(v{i}))" for i in range(len(names)))
    found = first_row(engine, f"SELECT {kinds} FROM {relation}")
    assert found is not None
    forms = []
    for index, (name, types) in enumerate(zip(names, found, strict=True)):
        present = set(types or ()) - {"NULL", None}
        if present == {"ARRAY"}:
            forms.append(Form.TYPED)
            continue
        if present & {"OBJECT", "ARRAY"}:
            test = f"json_type(v{index}) IN ('OBJECT', 'ARRAY')"
            raise InvalidData(
                "The value is an object or array.",
                where={"file": file, "row": _row(engine, relation, test), "column": name},
                remedy="Flatten it into columns of their own; an array is taken where all of the "
                "column's values are arrays of numbers.",
            )
        forms.append(Form.STRING if present == {"VARCHAR"} else Form.TEXT)
    return forms


def _lists(
    engine: duckdb.DuckDBPyConnection,
    relation: str,
    names: dict[int, str],
    file: str,
    scratch: Path,
) -> Objects:
    """A Parquet file with the arrays.

    Raises:
        InvalidData: an element of an array is no number.
    """
    for index, name in names.items():
        kinds = f"list_transform(json_extract(v{index}, '$[*]'), lambda x: json_type(x))"
        if row := _row(
            engine, relation, f"len(list_filter({kinds}, lambda k: k NOT IN ({_NUMBERS}))) > 0"
        ):
            raise InvalidData(
                "The array holds something else than numbers.",
                where={"file": file, "row": row, "column": name},
                remedy="Write numbers, and null where one is missing: [0.5, null, 2].",
            )
    target = scratch / "lists.parquet"
    columns = ", ".join(
        f"CAST(v{i} AS DOUBLE[]) AS " + '"' + name.replace('"', '""') + '"'
        for i, name in names.items()
    )
    engine.execute(f"COPY (SELECT {columns} FROM {relation}) TO {literal(str(target))}")
    return Objects(target)


def _row(engine: duckdb.DuckDBPyConnection, relation: str, test: str) -> int | None:
    """The first row, from 1, that passes a test."""
    found = first_row(
        engine,
        f"SELECT row FROM (SELECT row_number() OVER () AS row, * FROM {relation}) "
        f"WHERE {test} LIMIT 1",
    )
    return None if found is None else int(found[0])


def _text(index: int, form: Form) -> str:
    text = f"v{index} ->> '$'"
    if form is Form.STRING:
        return text
    words = ", ".join(map(literal, MISSING))
    return f"CASE WHEN {text} NOT IN ({words}) THEN {text} END"
