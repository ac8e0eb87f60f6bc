"""The messages of the Open Inference Protocol v2, as JSON carries them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Of requests, inputs and outputs: hints that other servers know; here none has a meaning.
Parameters = dict[str, bool | int | float | str | None]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServerMetadata(_Message):
    """The server, and the extensions of the protocol that it knows."""

    name: str
    version: str
    extensions: list[str]


class Live(_Message):
    """Whether the process answers."""

    live: bool


class Ready(_Message):
    """Whether inference would be answered."""

    ready: bool


class ModelReady(_Message):
    """Whether a model would answer."""

    name: str
    ready: bool


class TensorMetadata(_Message):
    """An input or output; -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Message):
    """What a model takes and gives."""

    name: str
    versions: list[str] = Field(description="Loaded here, now; the champion and recent others.")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RequestInput(_Message):
    """A column of raw values, of shape [rows] or [rows, 1]; of images, sequences and texts more."""

    name: str
    shape: list[int] = Field(examples=[[2]])
    datatype: str = Field(examples=["FP64"])
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = Field(
        default=None,
        description="Flat or nested, in row-major order. null stands for a missing value. "
        "JSON numbers are read as doubles, whatever float type is declared.",
        examples=[[41, None]],
    )


class RequestOutput(_Message):
    """An output that is asked for."""

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferenceRequest(_Message):
    """Rows, one tensor per column; without `outputs`, all are given."""

    id: str | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = Field(default_factory=list)


class ResponseOutput(_Message):
    """An output tensor, its data flat in row-major order."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferenceResponse(_Message):
    """The outputs; `id` is the request's own."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[ResponseOutput]
