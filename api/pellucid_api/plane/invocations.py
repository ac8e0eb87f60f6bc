"""MLflow's scoring protocol: what `mlflow models serve` answers at `/invocations`.

Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally, and
`mlflow.pyfunc.scoring_server`. A model of ours answers with the records of its DataFrame. An ONNX
model that was made elsewhere answers as MLflow's ONNX flavour does: rows of a DataFrame with
records, in which an output of more axes is flattened, and tensors with tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from pellucid.bundle import Input
from pellucid.errors import InvalidRows
from pellucid.schema import Kind
from pellucid_api.engine.answers import prediction_ids
from pellucid_api.engine.delimited import read_csv
from pellucid_api.engine.frames import frame
from pellucid_api.engine.rows import check_columns, check_names, decode_rows, gather, rule_of
from pellucid_api.engine.served import Served
from pellucid_api.engine.tables import decode_table, spreads
from pellucid_api.engine.values import NUMBERS, Values, convert
from pellucid_api.plane.exchange import Question, Reply, RequestHeaders, require_json
from pellucid_api.plane.formats import CSV, media_type, utf8
from pellucid_api.plane.rows import columns_of, parse

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_MOST_CELLS, _SPARSE = 2**20, 8  # where a few rows with keys of their own make a large table
_IGNORED = {"params", "signature_name"}  # as MLflow ignores the parameters that a model has not


class _Given(NamedTuple):
    columns: dict[str, Any] | None  # by name; None: the values of the only input
    values: Any
    framed: bool  # as a DataFrame


class InvocationsCodec:
    """A DataFrame or tensors in, `{"predictions": ...}` out."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows

    def decode(self, served: Served, headers: RequestHeaders, body: bytes) -> Question:
        """Read a request of one of MLflow's forms, or a CSV. Raises as `Codec` says."""
        kind, parameters = media_type(headers.get(b"content-type", b""))
        if kind == CSV:
            arrays = self._from_csv(served, utf8(body, parameters.get("charset", "utf-8")))
            return Question(served.layout.pack(arrays), True)
        require_json(headers)
        given = _given(parse(body, nan=True))
        model = served.model
        inputs = model.manifest.inputs
        if model.manifest.task == "other":
            arrays = self._tensors(given, inputs)
        else:
            arrays = self._columns(given, served)
        return Question(served.layout.pack(arrays), given.framed or model.manifest.task != "other")

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> Reply:
        """The predictions; the version and the first row's prediction id are told in headers."""
        manifest = served.model.manifest
        named = dict(zip([output.name for output in manifest.outputs], outputs, strict=True))
        found: Any
        if manifest.task != "other":
            found = _records(frame(manifest, named))
        elif question.context:
            found = _records({name: array.reshape(-1) for name, array in named.items()})
        else:
            found = {name: array.tolist() for name, array in named.items()}
        (identity,) = prediction_ids(first, 1)
        headers = {
            "content-type": "application/json",
            "x-model-name": served.name,
            "x-model-version": str(served.version),
            "x-prediction-id": identity,
        }
        pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
        return Reply(200, pairs, msgspec.json.encode({"predictions": found}))

    def _from_csv(self, served: Served, body: bytes) -> dict[str, Values]:
        inputs, tokenizer = served.model.manifest.inputs, served.model.tokenizer
        names = [each.name for each in inputs]
        table = read_csv(body, names)
        if not spreads(table.column_names, inputs):
            check_names([name for name in table.column_names if name in names], inputs)
            table = table.select(names)
            inputs = tuple(_timed(each, table[each.name]) for each in inputs)
        return decode_table(table, inputs, self._max_rows, tokenizer, text=True)

    def _columns(self, given: _Given, served: Served) -> dict[str, Values]:
        """For a model of ours; MLflow leaves out what its signature does not name."""
        if given.columns is None:
            raise InvalidRows(
                "The values have no names.", remedy='Send "dataframe_records" or "dataframe_split".'
            )
        model = served.model
        inputs = model.manifest.inputs
        names = {each.name for each in inputs}
        columns = {name: values for name, values in given.columns.items() if name in names}
        check_columns(columns, inputs, self._max_rows)

        def column(each: Input) -> Any:
            values = [None if value != value else value for value in columns[each.name]]  # NaN
            seconds = each.kind is Kind.DATETIME and not any(type(v) is str for v in values)
            return convert(values, NUMBERS if seconds else rule_of(each, model.tokenizer))

        return gather(inputs, column)

    def _tensors(self, given: _Given, inputs: Sequence[Input]) -> dict[str, Values]:
        """For a model that was made elsewhere."""
        first, *others = inputs
        if given.columns is None:
            if others:
                raise InvalidRows(
                    f"The model takes {len(inputs)} inputs, and the values have no names.",
                    remedy=f"Name them: {', '.join(each.name for each in inputs)}.",
                )
            return decode_rows(given.values, inputs, self._max_rows)
        columns = given.columns
        matrix = given.framed and not others and columns.keys() != {first.name}
        if matrix and not first.shape and len(columns) == 1:
            columns = {first.name: next(iter(columns.values()))}
        elif matrix:
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            return decode_rows(rows, inputs, self._max_rows)
        known = {each.name for each in inputs}
        columns = {name: values for name, values in columns.items() if name in known}
        check_columns(columns, inputs, self._max_rows)
        return gather(inputs, lambda each: convert(columns[each.name], rule_of(each, None)))


def _given(content: Any) -> _Given:
    forms = [form for form in _FORMS if isinstance(content, dict) and form in content]
    if len(forms) != 1 or content.keys() - {*_FORMS, *_IGNORED}:
        raise InvalidRows(
            "The body is not a request that MLflow knows.",
            remedy=f"Send an object with one of {', '.join(_FORMS)}, and no other key but params.",
        )
    value = content[forms[0]]
    match forms[0], value:
        case "dataframe_split", {"columns": list()}:
            return _Given(columns_of(value), None, True)
        case (("dataframe_records" | "instances"), [dict(), *_]):
            return _Given(_by_column(value), None, forms[0] == "dataframe_records")
        case (("instances" | "inputs"), list()):
            return _Given(None, value, False)
        case "inputs", dict():
            return _Given(value, None, False)
    raise InvalidRows(
        f"{forms[0]} is not of the form that MLflow gives it.",
        remedy='{"dataframe_split": {"columns": ["age"], "data": [[41]]}} is one.',
    )


def _by_column(rows: list[Any]) -> dict[str, list[Any]]:
    """As pandas does: a key that a row has not is missing. Raises `InvalidRows`."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InvalidRows(f"Row {number} is no object.", where={"row": number})
    names = dict.fromkeys(name for row in rows for name in row)
    cells = len(names) * len(rows)
    if cells > _MOST_CELLS and cells > _SPARSE * sum(map(len, rows)):
        raise InvalidRows(
            f"{len(rows):,} rows have {len(names):,} different keys, and most rows few of them.",
            remedy="Give every row the columns of the model.",
        )
    return {name: [row.get(name) for row in rows] for name in names}


def _timed(each: Input, column: Any) -> Input:
    """The input, as a number where the column holds seconds: MLflow's signature says so."""
    if each.kind is Kind.DATETIME:
        try:
            column.cast(pa.float64())
        except pa.ArrowInvalid:
            return each
        return each.model_copy(update={"kind": Kind.NUMERIC})
    return each


def _records(columns: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Raises `InvalidRows` where an output was flattened to more rows than another."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidRows(
            f"The outputs do not make one table; their numbers of values are: {told}.",
            remedy='Send "inputs" or "instances", which are answered with tensors.',
        )
    values = zip(*(each.tolist() for each in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]
