"""A `ModelInferRequest` to a model's arrays, and the outputs to a `ModelInferResponse`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.bundle import Datatype
from pellucid.errors import InvalidRows
from pellucid_api.engine.answers import prediction_ids
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values, clipped
from pellucid_api.oip.binary import from_array, size_of, to_array
from pellucid_api.oip.classification import classified
from pellucid_api.oip.elements import Tensor, refused
from pellucid_api.oip.parameters import schedule_of, wanted_of
from pellucid_api.oip.tensors import feed_of
from pellucid_api.plane.deadlines import timeout_of
from pellucid_api.plane.exchange import Question, RequestHeaders
from pellucid_api.rpc.calls import read
from pellucid_api.rpc.messages import ModelInferRequest, ModelInferResponse

# The field of InferTensorContents that holds a datatype; FP16 and BF16 have none.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class RpcCodec:
    """Messages in, messages out; headers are a call's metadata, its deadline among them."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows

    def decode(self, served: Served, headers: RequestHeaders, body: bytes) -> Question:
        """Read a `ModelInferRequest`. Raises as `Codec` says."""
        request = read(ModelInferRequest, body)
        model = served.model
        parameters = _parameters(request)
        asked = [(each.name, _parameters(each)) for each in request.outputs]
        wanted = wanted_of(asked, parameters, model.manifest)
        timeout, priority = schedule_of(parameters)
        allowed = timeout_of(headers)
        if allowed is not None:
            timeout = allowed if timeout is None else min(timeout, allowed)
        arrays = feed_of(_tensors(request), model.manifest.inputs, self._max_rows, model.tokenizer)
        return Question(served.layout.pack(arrays), (request.id, wanted), timeout, priority)

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> bytes:
        """A `ModelInferResponse`; the parameter `prediction_id` is the id of the first row."""
        identity, wanted = question.context
        response = ModelInferResponse(
            model_name=served.name, model_version=str(served.version), id=identity
        )
        (prediction,) = prediction_ids(first, 1)
        response.parameters["prediction_id"].string_param = prediction
        for each in wanted:
            output, datatype = outputs[each.place], each.datatype
            if each.classes:
                output = classified(output, each.classes, served.model.manifest.classes)
                datatype = "BYTES"
            response.outputs.add(name=each.name, datatype=datatype, shape=output.shape)
            response.raw_output_contents.append(from_array(output, datatype))
        return bytes(response.SerializeToString())


def _parameters(message: Any) -> dict[str, Any]:
    found = {}
    for name, value in message.parameters.items():
        kind = value.WhichOneof("parameter_choice")
        found[name] = getattr(value, kind) if kind else None
    return found


def _tensors(request: Any) -> list[Tensor]:
    """The inputs as arrays.

    Raises:
        InvalidRows: contents are both raw and typed, or not one for each input, or differ from
            what datatype and shape ask for.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRows(
            f"There are {len(request.inputs)} inputs and {len(raw)} raw_input_contents.",
            remedy="Send one for each input, or none.",
        )
    tensors = []
    for index, given in enumerate(request.inputs):
        shape = tuple(given.shape)
        if not raw:
            values = _contents(given, shape)
        elif given.HasField("contents"):
            raise refused(given.name, "it has contents, and raw_input_contents as well")
        else:
            values = to_array(raw[index], given.datatype, shape, given.name)
        tensors.append(Tensor(given.name, given.datatype, shape, values))
    return tensors


def _contents(given: Any, shape: tuple[int, ...]) -> Values:
    """The array (shape) of typed contents."""
    field = _FIELDS.get(given.datatype)
    if field is None:
        raise refused(
            given.name,
            f"its datatype is {clipped(given.datatype)}",
            f"Typed contents hold {', '.join(_FIELDS)}; FP16 and BF16 go into raw_input_contents.",
        )
    filled = [each.name for each, _ in given.contents.ListFields()]
    if filled not in ([field], []):
        raise refused(given.name, f"{given.datatype} is in {field}, and it has {filled}")
    values = getattr(given.contents, field)
    count = size_of(shape, given.name)
    if len(values) != count or not count:
        raise refused(given.name, f"its shape is {list(shape)} and it has {len(values)} values")
    if given.datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)
    try:
        numbers = np.fromiter(values, DTYPES[Datatype(given.datatype)], len(values))
    except OverflowError as error:  # small integers come as 32 bits
        raise refused(given.name, f"a value is out of the range of {given.datatype}") from error
    return numbers.reshape(shape)
