"""Tensors, the format of the Open Inference Protocol v2 over REST.

What is well formed is read by msgspec. Anything else goes to `oip.codec`, which is slower and says
what is wrong.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from pellucid.bundle import Datatype, Input
from pellucid.schema import Kind
from pellucid_api.engine.answers import prediction_ids
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.oip import codec
from pellucid_api.plane.exchange import Question, RawHeaders, Reply, header, require_json
from pellucid_api.plane.rows import parse

_JSON = [(b"content-type", b"application/json")]
Parameters = dict[str, bool | int | float | str | None]


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw
    parameters: Parameters | UnsetType = UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    parameters: Parameters | UnsetType = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] = []
    parameters: Parameters | UnsetType = UNSET


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class _Response(msgspec.Struct, omit_defaults=True, gc=False):
    model_name: str
    model_version: str
    outputs: list[_Tensor]
    parameters: dict[str, Any]
    id: str | None = None


_request = msgspec.json.Decoder(_Request)
_floats = msgspec.json.Decoder(list[float])
_holes = msgspec.json.Decoder(list[float | None])
_strings = msgspec.json.Decoder(list[str | None])
_encoder = msgspec.json.Encoder()


class TensorsCodec:
    """A request's tensors in, the outputs as tensors out."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows

    def decode(self, served: Served, headers: RawHeaders, body: bytes) -> Question:
        """Read an inference request. Raises as `Codec` says."""
        if header(headers, b"inference-header-content-length"):
            raise codec.binary_refusal()
        require_json(headers)
        try:
            return self._quick(served, body)
        except (ValueError, LookupError, OverflowError):  # msgspec's own are ValueErrors
            return self._careful(served, body)

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> Reply:
        """An inference response; `parameters.prediction_id` is the id of the first row."""
        identity, wanted = question.context
        tensors = [
            _Tensor(spec.name, each.shape, spec.datatype.value, each.ravel().tolist())
            for spec, each in zip(served.model.manifest.outputs, outputs, strict=True)
        ]
        if wanted:
            named = {tensor.name: tensor for tensor in tensors}
            tensors = [named[name] for name in wanted]
        (prediction,) = prediction_ids(first, 1)
        response = _Response(
            served.name, str(served.version), tensors, {"prediction_id": prediction}, identity
        )
        return Reply(200, _JSON, _encoder.encode(response))

    def _quick(self, served: Served, body: bytes) -> Question:
        request = _request.decode(body)
        given = {each.name: each for each in request.inputs}
        inputs = served.model.manifest.inputs
        if len(given) != len(request.inputs) or len(given) != len(inputs) or _asks(request):
            raise ValueError("left to the careful reader")
        arrays = {each.name: _array(given[each.name], each) for each in inputs}
        rows = {len(array) for array in arrays.values()}
        if len(rows) != 1 or not 0 < max(rows) <= self._max_rows:
            raise ValueError("left to the careful reader")
        return Question(served.layout.pack(arrays), (request.id, []))

    def _careful(self, served: Served, body: bytes) -> Question:
        model = served.model
        request = codec.parse(parse(body))
        wanted = codec.check_outputs(request, model.manifest)
        arrays = codec.decode(request, model.manifest.inputs, self._max_rows, model.tokenizer)
        return Question(served.layout.pack(arrays), (request.id, wanted))


def _asks(request: _Request) -> bool:
    """Whether the request asks for more than its rows' outputs."""
    return bool(request.outputs or request.parameters or any(i.parameters for i in request.inputs))


def _array(given: _Input, wanted: Input) -> Values:
    """The input's array (rows, *shape).

    Raises:
        ValueError: it is not of the plain kind that is read here.
    """
    if wanted.scalar and given.shape[1:] in ((), (1,)):
        rows = given.shape[0]
        if wanted.datatype is Datatype.BYTES and given.datatype == "BYTES":
            texts = [text or "" for text in _strings.decode(given.data)]
            return np.array(texts, dtype=object).reshape(rows)
        if given.datatype in ("FP64", "FP32") and wanted.kind is not Kind.BOOLEAN:
            return np.array(_holes.decode(given.data), dtype=np.float64).reshape(rows)
    elif wanted.kind is Kind.TENSOR and given.datatype == wanted.datatype == Datatype.FP32:
        axes = zip(given.shape[1:], wanted.shape, strict=True)
        if all(size == -1 or size == each for each, size in axes):
            numbers = np.array(_floats.decode(given.data), dtype=np.float32)
            return numbers.reshape(given.shape)
    raise ValueError("left to the careful reader")
