"""Requests and responses on the wire: JSON, which binary tensor data may follow.

Source: https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from pellucid.errors import InvalidRows
from pellucid_api.engine.values import Values
from pellucid_api.oip.parameters import whole

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Given = dict[str, bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | str | None]
_BOM = b"\xef\xbb\xbf"


class Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An input; its data are JSON that is not read yet, empty if they are binary."""

    name: str
    shape: tuple[Size, ...]
    datatype: str
    data: Raw = Raw()
    parameters: Given = {}


class Floats(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An input of numbers without parameters, as most are."""

    name: str
    shape: tuple[Size, ...]
    datatype: str
    data: list[float]


class OneInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A request that says no more than one input's numbers, read at once."""

    inputs: tuple[Floats]
    id: str | None = None


class Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An output that is asked for."""

    name: str
    parameters: Given = {}


class Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An inference request; the path says more of the model than the request does."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Output] = []
    parameters: Given = {}
    model_name: str | None = None
    model_version: str | None = None


class Answer(msgspec.Struct, omit_defaults=True, gc=False):
    """An output's tensor; its data are flat in row-major order, or follow the JSON."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class Response(msgspec.Struct, omit_defaults=True, gc=False):
    """An inference response."""

    model_name: str
    model_version: str
    outputs: list[Answer]
    parameters: dict[str, Any]
    id: str | None = None


_decoder = msgspec.json.Decoder(Request)


def parse(text: bytes) -> Request:
    """The request that JSON describes.

    Raises:
        InvalidRows: it is no JSON; NaN and Infinity are none. Or a key is missing, unknown or of
            the wrong type.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        path = path.rstrip("`").lstrip(".")
        raise InvalidRows(f"{path or 'The body'}: {reason}.", where={"path": path}) from error
    except RecursionError:
        raise InvalidRows("The body is nested too deeply.") from None
    except ValueError as error:  # msgspec's own, and bytes that are no UTF-8
        if text.startswith(_BOM):
            return parse(text.removeprefix(_BOM))
        if not text.strip():
            raise InvalidRows("The body is empty.", remedy="Send JSON.") from None
        raise InvalidRows(
            f"The body is not JSON: {error}.",
            remedy="In JSON, NaN is not a number: null stands for a missing value.",
        ) from error


def split(length: bytes, body: bytes) -> tuple[bytes, memoryview]:
    """A body's JSON, and the binary data after it.

    Args:
        length: the header Inference-Header-Content-Length; empty: all is JSON.
        body: whole.

    Raises:
        InvalidRows: the header is no number, or more than the body has.
    """
    if not length:
        return body, memoryview(b"")
    # int() would take signs, spaces, underscores and digits of other scripts
    if not length.isdigit() or len(length) > 18 or not 0 < int(length) <= len(body):
        raise InvalidRows(
            f"Inference-Header-Content-Length is {length.decode('latin-1')!r}, and the body has "
            f"{len(body)} bytes.",
            remedy="It is the length of the JSON, which the binary data follow.",
        )
    end = int(length)
    return body[:end], memoryview(body)[end:]


def binary_data(inputs: Sequence[Input], tail: memoryview) -> dict[str, memoryview]:
    """The binary data of the inputs that have some, by name.

    Raises:
        InvalidRows: a size is no whole number, the data end too soon or too late, or an input has
            data in JSON as well.
    """
    found: dict[str, memoryview] = {}
    start = 0
    for each in inputs:
        if "binary_data_size" not in each.parameters:
            continue
        size = whole(each.parameters, "binary_data_size")
        if bytes(each.data):
            raise _refused(each.name, "its data are given both in JSON and as binary data")
        if size > len(tail) - start:
            raise _refused(
                each.name,
                f"its binary_data_size is {size}, and {len(tail) - start} bytes are left",
                "Binary data follow the JSON, whose length is Inference-Header-Content-Length.",
            )
        found[each.name] = tail[start : start + size]
        start += size
    if start != len(tail):
        raise InvalidRows(
            f"{len(tail) - start} bytes follow the binary data of the inputs.",
            remedy="Give every input that has binary data its binary_data_size.",
        )
    return found


def listed(array: Values) -> list[Any]:
    """The values of an output in row-major order; NaN and infinities become null in JSON."""
    if array.dtype.kind == "V":  # bfloat16, whose scalars are not Python's
        array = array.astype("float32")
    found: list[Any] = array.ravel().tolist()
    return found


def _refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    return InvalidRows(f"Input {name!r}: {reason}.", where={"input": name}, remedy=remedy)
