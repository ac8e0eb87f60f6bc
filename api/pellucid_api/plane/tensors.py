"""Tensors, the format of the Open Inference Protocol v2 over REST, with binary data or without.

What is well formed is read by msgspec straight into arrays. The data of anything else go to
`oip.tensors`, which is slower and says what is wrong.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from pydantic_core import from_json

from pellucid.bundle import Datatype, Input, Manifest
from pellucid.schema import Kind
from pellucid_api.engine.answers import prediction_id
from pellucid_api.engine.feeds import Feed, of_tensors
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.oip import messages
from pellucid_api.oip.binary import from_array, to_array
from pellucid_api.oip.classification import classified
from pellucid_api.oip.elements import Tensor, refused
from pellucid_api.oip.parameters import Wanted, schedule_of, wanted_of
from pellucid_api.oip.tensors import array_of, feed_of
from pellucid_api.plane.deadlines import timeout_of
from pellucid_api.plane.encodings import plain
from pellucid_api.plane.exchange import Question, Reply, RequestHeaders, require_json

_JSON = [(b"content-type", b"application/json")]
_OCTETS = (b"content-type", b"application/octet-stream")
_LENGTH = b"inference-header-content-length"
_FP32 = np.dtype(np.float32)
_floats = msgspec.json.Decoder(list[float])
_nested = msgspec.json.Decoder(list[list[float]])
_holes = msgspec.json.Decoder(list[float | None])
_strings = msgspec.json.Decoder(list[str | None])
_encoder = msgspec.json.Encoder()


class _Everything(list[Wanted]):
    """All outputs, as JSON."""


class _OneInput:
    """Reads the plainest of requests, the numbers of a model's only input, in one go."""

    def __init__(self, wanted: Input, outputs: list[Wanted]) -> None:
        self._wanted, self._outputs = wanted, outputs
        self._decoder = msgspec.json.Decoder(messages.OneInput)

    def read(self, text: bytes, max_rows: int) -> tuple[Feed, tuple[str | None, list[Wanted]]]:
        """The rows, and what `encode` needs.

        Raises:
            ValueError, OverflowError: it is another kind of request, or something does not fit.
        """
        request = self._decoder.decode(text)  # msgspec's errors are ValueErrors
        (given,) = request.inputs
        if given.name != self._wanted.name or given.datatype != "FP32":
            raise ValueError("left to the careful reader")
        array = _shaped(given.data, given.shape, self._wanted)
        rows = len(array)
        if not 0 < rows <= max_rows:
            raise ValueError("left to the careful reader")
        return of_tensors(rows, (array,)), (request.id, self._outputs)


class TensorsCodec:
    """A request's tensors in, the outputs as tensors out.

    Args:
        max_rows: of a request.
        max_bytes: of a request that came compressed.
    """

    def __init__(self, max_rows: int, max_bytes: int = 2**28) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes

    def decode(self, served: Served, headers: RequestHeaders, body: bytes) -> Question:
        """Read an inference request. Raises as `Codec` says."""
        length = headers.get(_LENGTH, b"")
        if not length:
            require_json(headers)
        allowed = timeout_of(headers)
        body = plain(headers, body, self._max_bytes)
        only = None if length else served.kept(_OneInput, _one_input)
        if only is not None:
            try:
                return Question(*only.read(body, self._max_rows), allowed)
            except (ValueError, OverflowError):
                pass  # what is wrong is found below
        text, tail = messages.split(length, body)
        request = messages.parse(text)
        data = messages.binary_data(request.inputs, tail)
        manifest = served.model.manifest
        if request.outputs or request.parameters:
            outputs = [(each.name, each.parameters) for each in request.outputs]
            wanted = wanted_of(outputs, request.parameters, manifest)
        else:
            wanted = served.kept(_Everything, _everything) or []
        timeout, priority = schedule_of(request.parameters)
        if allowed is not None:
            timeout = allowed if timeout is None else min(timeout, allowed)
        arrays = self._quick(request, data, manifest) or self._careful(request, data, served)
        feed = served.layout.pack(arrays)
        return Question(feed, (request.id, wanted), timeout, priority)

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> Reply:
        """An inference response; `parameters.prediction_id` is the id of the first row."""
        identity, wanted = question.context
        binary: list[bytes] = []
        labels = served.model.manifest.classes
        answers = [_answer(each, outputs[each.place], labels, binary) for each in wanted]
        told = {"prediction_id": prediction_id(first)}
        response = messages.Response(served.name, str(served.version), answers, told, identity)
        text = _encoder.encode(response)
        if not binary:
            return Reply(200, _JSON, text)
        headers = [_OCTETS, (_LENGTH, b"%d" % len(text))]
        return Reply(200, headers, b"".join([text, *binary]))

    def _quick(
        self, request: messages.Request, data: Mapping[str, memoryview], manifest: Manifest
    ) -> dict[str, Values] | None:
        """The arrays, or None where something is not of the plain kinds that are read here."""
        given = {each.name: each for each in request.inputs}
        inputs = manifest.inputs
        if len(given) != len(request.inputs) or len(given) != len(inputs):
            return None
        try:
            arrays = {each.name: _array(given[each.name], each, data) for each in inputs}
        except (ValueError, LookupError, OverflowError):  # msgspec's own are ValueErrors
            return None
        rows = {len(array) for array in arrays.values()}
        return arrays if len(rows) == 1 and 0 < max(rows) <= self._max_rows else None

    def _careful(
        self, request: messages.Request, data: Mapping[str, memoryview], served: Served
    ) -> dict[str, Values]:
        model = served.model
        tensors = [_tensor(each, data) for each in request.inputs]
        return feed_of(tensors, model.manifest.inputs, self._max_rows, model.tokenizer)


def _everything(served: Served) -> _Everything:
    return _Everything(wanted_of([], {}, served.model.manifest))


def _one_input(served: Served) -> _OneInput | None:
    inputs = served.model.manifest.inputs
    plain = len(inputs) == 1 and inputs[0].kind is Kind.TENSOR
    if not plain or inputs[0].datatype is not Datatype.FP32:
        return None
    return _OneInput(inputs[0], served.kept(_Everything, _everything) or [])


def _array(given: messages.Input, wanted: Input, data: Mapping[str, memoryview]) -> Values:
    """The input's array (rows, *shape).

    Raises:
        ValueError, LookupError, OverflowError: it is not of the plain kinds that are read here.
        InvalidRows: its binary data do not fit.
    """
    raw = data.get(given.name)
    if raw is not None:
        return _from_bytes(given, wanted, raw)
    if wanted.scalar and given.shape[1:] in ((), (1,)):
        rows = given.shape[0]
        if wanted.datatype is Datatype.BYTES and given.datatype == "BYTES":
            texts = [text or "" for text in _strings.decode(given.data)]
            return np.array(texts, dtype=object).reshape(rows)
        if given.datatype in ("FP64", "FP32") and wanted.kind is not Kind.BOOLEAN:
            return np.array(_holes.decode(given.data), dtype=np.float64).reshape(rows)
    if wanted.kind is Kind.TENSOR and given.datatype == wanted.datatype == Datatype.FP32:
        return _float_tensor(given, wanted)
    raise ValueError("left to the careful reader")


def _from_bytes(given: messages.Input, wanted: Input, raw: memoryview) -> Values:
    name, datatype, shape = given.name, given.datatype, given.shape
    if not wanted.scalar and wanted.kind is not Kind.TENSOR:
        raise ValueError("left to the careful reader")
    array = to_array(raw, datatype, shape, name)
    as_wanted = datatype == wanted.datatype and shape[1:] == wanted.shape and bool(shape)
    if as_wanted and datatype != "BYTES" and (wanted.kind is Kind.TENSOR or _plain(array, wanted)):
        return array
    return array_of(Tensor(name, datatype, shape, array), wanted, None)


def _plain(array: Values, wanted: Input) -> bool:
    return wanted.kind is not Kind.BOOLEAN and not np.isinf(array).any()


def _float_tensor(given: messages.Input, wanted: Input) -> Values:
    if bytes(memoryview(given.data)[:2]) == b"[[":
        rows = _nested.decode(given.data)
        if given.shape != (len(rows), len(rows[0])) or len({len(row) for row in rows}) > 1:
            raise ValueError("left to the careful reader")
        values = list(chain.from_iterable(rows))
    else:
        values = _floats.decode(given.data)
    return _shaped(values, given.shape, wanted)


def _shaped(values: list[float], shape: tuple[int, ...], wanted: Input) -> Values:
    """Raises ValueError where the shape fits neither, OverflowError beyond FP32."""
    axes = shape[1:]
    if (axes != wanted.shape and not _fits(axes, wanted.shape)) or 0 in axes:
        raise ValueError("left to the careful reader")
    if math.prod(shape) != len(values):  # which the array would not notice, of too many
        raise ValueError("left to the careful reader")
    packed = _floats_of(len(values)).pack(*values)  # three times as fast as NumPy on a list
    return np.ndarray(shape, _FP32, packed)


@lru_cache(256)
def _floats_of(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")  # native packing would not notice overflows


def _fits(axes: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(axis in (-1, size) for size, axis in zip(axes, wanted, strict=True))


def _tensor(given: messages.Input, data: Mapping[str, memoryview]) -> Tensor:
    name, datatype, shape = given.name, given.datatype, given.shape
    if name in data:
        return Tensor(name, datatype, shape, to_array(data[name], datatype, shape, name))
    text = bytes(given.data)
    if not text or text == b"null":
        raise refused(name, "it has no data")
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError as error:  # nested deeper than any tensor, or a lone surrogate
        raise refused(name, f"its data cannot be read: {error}") from error
    if not isinstance(values, list):
        raise refused(name, "its data are no list")
    return Tensor(name, datatype, shape, values)


def _answer(
    wanted: Wanted, output: Values, labels: Sequence[int | str], binary: list[bytes]
) -> messages.Answer:
    """The output's tensor; binary data are put at the end of `binary`."""
    datatype = wanted.datatype
    if wanted.classes:
        output, datatype = classified(output, wanted.classes, labels), "BYTES"
    if not wanted.binary:
        return messages.Answer(wanted.name, output.shape, datatype, messages.listed(output))
    raw = from_array(output, datatype)
    binary.append(raw)
    size: dict[str, Any] = {"binary_data_size": len(raw)}
    return messages.Answer(wanted.name, output.shape, datatype, parameters=size)
