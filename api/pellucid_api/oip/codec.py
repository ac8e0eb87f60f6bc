"""Open Inference Protocol messages to a model's arrays, and back.

A scalar column is FP64 or BYTES. Any numeric datatype is taken for FP64, if its values are what
the datatype says. Images, sequences and texts: see `tensors`. The binary tensor extension is
refused.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pellucid.bundle import Datatype, Input, Manifest
from pellucid.errors import InvalidRows, TooLarge
from pellucid.schema import Kind
from pellucid_api.engine.rows import check_size
from pellucid_api.engine.values import BOOLEANS, STRINGS, Misfit, Values, convert, shown
from pellucid_api.oip import tensors
from pellucid_api.oip.tensors import NUMERIC, refused
from pellucid_api.oip.types import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    RequestInput,
    ResponseOutput,
    TensorMetadata,
)

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

_BINARY_PARAMETERS = ("binary_data", "binary_data_size", "binary_data_output")


def parse(value: Any) -> InferenceRequest:
    """The request that a JSON value describes.

    Raises:
        InvalidRows: a key is missing, unknown or of the wrong type, or tensors are binary.
    """
    try:
        request = InferenceRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidRows(f"{path or 'The body'}: {first['msg']}.", where={"path": path}) from error
    parameters = [
        request.parameters,
        *(tensor.parameters for tensor in request.inputs),
        *(tensor.parameters for tensor in request.outputs),
    ]
    if any(given.get(name) for given in parameters for name in _BINARY_PARAMETERS):
        raise binary_refusal()
    return request


def binary_refusal() -> InvalidRows:
    """The error for a request with the binary tensor extension."""
    return InvalidRows(
        "The binary tensor data extension is not supported.",
        remedy="Send and ask for JSON: binary_data=False in tritonclient.",
    )


def decode(
    request: InferenceRequest,
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Raises:
        InvalidRows: an input is missing, unknown, given twice, or its datatype, shape or data do
            not fit.
        TooLarge: more than `max_rows` rows, or too much once decoded.
    """
    known = {each.name: each for each in inputs}
    given = [tensor.name for tensor in request.inputs]
    for name in given:
        if name not in known:
            raise refused(name, "the model has no such input", f"It has: {', '.join(known)}.")
        if given.count(name) > 1:
            raise refused(name, "it is given twice")
    missing = [name for name in known if name not in given]
    if missing:
        raise InvalidRows(
            f"Missing inputs: {', '.join(missing)}.", remedy="null stands for a missing value."
        )
    rows = {tensor.name: _rows(tensor, known[tensor.name]) for tensor in request.inputs}
    if (count := max(rows.values(), default=0)) > max_rows:
        raise TooLarge(f"{count:,} rows are more than {max_rows:,}, the limit of one request.")
    check_size(count, inputs)
    feed = {
        tensor.name: tensors.shaped(tensor, known[tensor.name], tokenizer)
        if known[tensor.name].shape
        else _column(tensor, known[tensor.name])
        for tensor in request.inputs
    }
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidRows(f"The inputs differ in their number of rows: {counts}.")
    return feed


def encode(
    request: InferenceRequest, name: str, version: int, manifest: Manifest,
    outputs: Mapping[str, Values],
) -> InferenceResponse:  # fmt: skip
    """The response with the outputs that the request asks for, in its order.

    Raises:
        InvalidRows: it asks for an output that the model has not.
    """
    datatypes = {output.name: output.datatype for output in manifest.outputs}
    wanted = check_outputs(request, manifest) or list(datatypes)
    return InferenceResponse(
        model_name=name,
        model_version=str(version),
        id=request.id,
        outputs=[
            ResponseOutput.model_construct(
                name=each,
                shape=list(outputs[each].shape),
                datatype=datatypes[each].value,
                data=outputs[each].ravel().tolist(),
            )
            for each in wanted
        ],
    )


def check_outputs(request: InferenceRequest, manifest: Manifest) -> list[str]:
    """The names of the outputs that are asked for. Raises `InvalidRows`."""
    known = [output.name for output in manifest.outputs]
    wanted = [output.name for output in request.outputs]
    for name in wanted:
        if name not in known:
            raise InvalidRows(
                f"Output {name!r}: the model has no such output.",
                where={"output": name},
                remedy=f"It has: {', '.join(known)}.",
            )
        if wanted.count(name) > 1:
            raise InvalidRows(f"Output {name!r} is asked for twice.", where={"output": name})
    return wanted


def metadata(name: str, versions: Sequence[int], manifest: Manifest) -> ModelMetadata:
    """A model's metadata."""
    return ModelMetadata(
        name=name,
        versions=[str(version) for version in versions],
        platform="onnx_onnxv1",
        inputs=[
            TensorMetadata(name=each.name, datatype="BYTES", shape=[-1])  # tokens are taken too
            if each.kind is Kind.TEXT
            else TensorMetadata(
                name=each.name, datatype=each.datatype.value, shape=[-1, *each.shape]
            )
            for each in manifest.inputs
        ],
        outputs=[
            TensorMetadata(name=each.name, datatype=each.datatype.value, shape=list(each.shape))
            for each in manifest.outputs
        ],
    )


def _rows(tensor: RequestInput, target: Input) -> int:
    if tensor.data is None:
        raise refused(tensor.name, "it has no data")
    shape = tensor.shape
    if target.shape:
        if not shape or min(shape) < 1:
            raise refused(tensor.name, f"its shape is {shape}")
    elif len(shape) not in (1, 2) or shape[0] < 1 or shape[1:] not in ([], [1]):
        raise refused(tensor.name, f"its shape is {shape}", "Send [rows] or [rows, 1].")
    return shape[0]


def _column(tensor: RequestInput, target: Input) -> Values:
    data = tensor.data or []
    if len(tensor.shape) == 2 and any(isinstance(value, list) for value in data):
        data = list(chain.from_iterable(v if isinstance(v, list) else [v] for v in data))
    if len(data) != tensor.shape[0]:
        raise refused(tensor.name, f"its shape is {tensor.shape} and it has {len(data)} values")
    rule = STRINGS if tensor.datatype == "BYTES" else NUMERIC.get(tensor.datatype)
    if rule is None or (rule is STRINGS) != (target.datatype is Datatype.BYTES):
        raise refused(
            tensor.name,
            f"its datatype is {tensor.datatype}",
            f"The model takes {target.datatype.value}.",
        )
    column = convert(data, BOOLEANS if target.kind is Kind.BOOLEAN else rule)
    if isinstance(column, Misfit):
        wanted = BOOLEANS.wanted if target.kind is Kind.BOOLEAN else rule.wanted
        raise InvalidRows(
            f"Input {tensor.name!r}, row {column.row}: {shown(column.value)} is not {wanted}.",
            where={"input": tensor.name, "row": column.row},
        )
    return column
