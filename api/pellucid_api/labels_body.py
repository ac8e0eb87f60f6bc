"""Labels as they come: JSON, CSV, an Arrow stream or a Parquet file, to two columns of strings."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.errors import InvalidRows, TooLarge, UnsupportedType
from pellucid.monitoring import ids
from pellucid.monitoring.feedback.taking import Given
from pellucid_api.engine.arrow import Unfit, strings, whole
from pellucid_api.engine.delimited import read_csv
from pellucid_api.engine.streams import read_stream
from pellucid_api.plane.formats import ARROW, CSV, JSON, media_type, utf8

PARQUET = "application/vnd.apache.parquet"
_PARQUETS = (PARQUET, "application/x-parquet", "application/parquet")
_PLAIN = (JSON, "application/x-www-form-urlencoded", "")  # curl -d says the second
_IDS, _LABEL = ("id", "prediction_id"), "label"
_MOST_ROWS = 10_000_000
_MOST_BYTES = 2**30  # of a file's columns in memory
_BATCH_ROWS = 2**16
_LONGEST_ID = 64
_REMEDY = 'A label is {"id": "the prediction\'s id", "label": "what turned out"}.'


class _Label(msgspec.Struct):
    id: str | None = None
    label: Any = None


class _Body(_Label):
    labels: list[_Label] | None = None


_JSON = msgspec.json.Decoder(list[_Label] | _Body)


def read_labels(content_type: bytes, body: bytes) -> Given:
    """The labels of a request.

    Raises:
        InvalidRows: the body is not what it says, or has no column of ids or labels.
        UnsupportedType: it says that it is something else.
        TooLarge: it stands for more than fits.
    """
    name, parameters = media_type(content_type)
    if name in _PLAIN or name.endswith("+json"):
        return _json(body)
    if name == CSV:
        return _table(read_csv(utf8(body, parameters.get("charset", "utf-8")), ["id", _LABEL]))
    if name == ARROW:
        return _table(read_stream(body))
    if name in _PARQUETS:
        return _table(_parquet(body))
    raise UnsupportedType(
        f"The body is {name[:100]}.", remedy=f"Send {JSON}, {CSV}, {ARROW} or {PARQUET}."
    )


def _json(body: bytes) -> Given:
    try:
        read = _JSON.decode(body)
        single = isinstance(read, _Body) and read.labels is None
        rows = read if isinstance(read, list) else [read] if read.labels is None else read.labels
        labels = pa.array([_text(each.label) for each in rows], pa.string())
        return Given.of(pa.array([each.id for each in rows], pa.string()), labels, single=single)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRows(f"The body holds no labels: {error}.", remedy=_REMEDY) from error


def _text(label: Any) -> str | None:
    if label is None or isinstance(label, str):
        return label
    return json.dumps(label)


def _parquet(body: bytes) -> Any:
    """Strings stay dictionaries: a few bytes may stand for millions of long ones.

    The metadata of its columns is not looked at: damaged, it ends the process (pyarrow 25).
    """
    try:
        schema = pq.read_schema(pa.BufferReader(body))
        columns = list(dict.fromkeys(each for each in schema.names if each in (*_IDS, _LABEL)))
        texts = [each for each in columns if _is_text(schema.field(each).type)]
        with pq.ParquetFile(pa.BufferReader(body), read_dictionary=texts) as file:
            if file.metadata.num_rows > _MOST_ROWS:
                raise _too_large(f"{file.metadata.num_rows:,} labels are more than {_MOST_ROWS:,}.")
            batches, size = [], 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                size += batch.nbytes
                if size > _MOST_BYTES:
                    raise _too_large(f"The labels take more than {_MOST_BYTES:,} bytes of memory.")
                batches.append(batch)
            if not batches:
                raise InvalidRows("There is no label.", remedy=_REMEDY)
            table = pa.Table.from_batches(batches)
            table.validate(full=True)
            return table
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InvalidRows(f"The body is no valid Parquet file: {error}.") from error


def _is_text(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind))


def _too_large(message: str) -> TooLarge:
    return TooLarge(message, remedy="Send them in several files.")


def _table(table: Any) -> Given:
    identity = next((name for name in _IDS if name in table.column_names), None)
    for name, found in (("id", identity), (_LABEL, _LABEL in table.column_names)):
        if not found:
            given = ", ".join(table.column_names[:20])
            raise InvalidRows(
                f"There is no column {name!r}; there are: {given}.",
                where={"column": name},
                remedy="Send the columns id and label.",
            )
    assert identity is not None
    if not table.num_rows:
        raise InvalidRows("There is no label.", remedy=_REMEDY)
    for name in (identity, _LABEL):
        if table.column_names.count(name) > 1:
            raise InvalidRows(f"The column {name!r} is given twice.", where={"column": name})
    return Given.of(_read(table, identity, _identities), _read(table, _LABEL, _labels))


def _read(table: Any, name: str, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(whole(table.column(name)))
    except (Unfit, pa.ArrowException) as error:
        kind = table.schema.field(name).type
        raise InvalidRows(
            f"The column {name!r} is of the type {kind}.",
            where={"column": name},
            remedy="Ids are strings or UUIDs; labels strings, numbers, booleans or lists of them.",
        ) from error


def _identities(array: Any) -> Any:
    """UUIDs as strings, whether they are 16 bytes or text."""
    if array.type == ids.TYPE:
        hexadecimal = [None if each is None else each.hex() for each in array.to_pylist()]
        return pa.array(hexadecimal, pa.string())
    return _plain(array)


def _labels(array: Any) -> Any:
    kind, types = array.type, pa.types
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return array.cast(pa.string())
    if types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind):
        texts = [None if each is None else json.dumps(each) for each in array.to_pylist()]
        return pa.array(texts, pa.string())
    return _plain(array)


def _plain(array: Any) -> Any:
    """Strings, also those of a dictionary, none of which is long if many rows share it."""
    if not pa.types.is_dictionary(array.type):
        return strings(array).cast(pa.string())
    texts = strings(array.dictionary).cast(pa.string())
    longest = max((len(each or "") for each in texts.to_pylist()), default=0)
    if longest > _LONGEST_ID and longest * len(array) > _MOST_BYTES:
        raise _too_large("A few long labels stand for many.")
    return texts.take(array.indices)
