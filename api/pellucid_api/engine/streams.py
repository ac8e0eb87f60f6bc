"""Arrow IPC streams (https://arrow.apache.org/docs/format/Columnar.html) that others send."""

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pellucid.errors import InvalidRows
from pellucid_api.engine.arrow import is_list

_DICTIONARY, _RECORDS = 2, 3  # of the union MessageHeader in Message.fbs


def read_stream(body: bytes) -> Any:
    """The pyarrow.Table of a stream, every value validated.

    Raises:
        InvalidRows: it is none, it is damaged, or it is compressed or claims lists of more values
            than it has bits: what a few bytes stand for would have no bound.
    """
    try:
        for metadata in _messages(body):
            if _compressed(metadata):
                raise InvalidRows(
                    "The Arrow stream is compressed.",
                    remedy="Write it with IpcWriteOptions(compression=None), the default.",
                )
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate()
        for column in table.columns:
            for chunk in column.chunks:
                _check_lists(chunk, 8 * len(body))
        table.validate(full=True)
        str(table.schema)  # names that are no UTF-8 are found out here
    except (pa.ArrowException, OSError, ValueError, LookupError, struct.error) as error:
        raise InvalidRows(
            f"The body is no valid Arrow IPC stream: {error}.",
            remedy="Send what pyarrow.ipc.new_stream writes.",
        ) from error
    return table


def write_stream(table: Any) -> bytes:
    """The bytes of a stream with the table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _check_lists(array: Any, most: int) -> None:
    """Nulls and empty lists take no bytes: a list may claim billions of them."""
    if isinstance(array, pa.ExtensionArray):
        _check_lists(array.storage, most)
    elif is_list(array.type):
        if len(array.values) > most:
            raise InvalidRows(
                f"A column's lists hold {len(array.values):,} values, more than the body has bits.",
                remedy="Give the lists a type of values, such as pa.list_(pa.float64()).",
            )
        _check_lists(array.values, most)


def _messages(body: bytes) -> Iterator[bytes]:
    """The metadata of every message: flatbuffers by Message.fbs."""
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        yield message.metadata.to_pybytes()


def _compressed(metadata: bytes) -> bool:
    """Whether a message's buffers are compressed, which pyarrow tells only by inflating them."""
    root = _u32(metadata, 0)
    kind = _field(metadata, root, 1)
    header = _field(metadata, root, 2)
    if not kind or not header or metadata[kind] not in (_DICTIONARY, _RECORDS):
        return False
    table = header + _u32(metadata, header)
    if metadata[kind] == _DICTIONARY:
        data = _field(metadata, table, 1)
        table = data + _u32(metadata, data)
    return bool(_field(metadata, table, 3))  # RecordBatch.compression


def _field(metadata: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffers table lies; 0 where it is left out."""
    (back,) = struct.unpack_from("<i", metadata, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", metadata, vtable)
    if 4 + 2 * index >= size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, vtable + 4 + 2 * index)
    return table + offset if offset else 0


def _u32(metadata: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", metadata, place)[0])
