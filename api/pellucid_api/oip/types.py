"""The messages of the Open Inference Protocol v2, as JSON carries them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Of requests, inputs and outputs; see `oip.parameters`.
Parameters = dict[str, bool | int | float | str | None]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServerMetadata(_Message):
    """The server, and the extensions of the protocol that it knows."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Message):
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
    parameters: Parameters | None = Field(
        default=None, description="device: where it runs; providers: by what of ONNX Runtime."
    )


class RequestInput(_Message):
    """A column of raw values, of shape [rows] or [rows, 1]; of images, sequences and texts more.

    The parameter `binary_data_size` stands for `data`: so many bytes after the JSON.
    """

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
    """An output that is asked for; with `binary_data`, its bytes follow the JSON.

    With `classification`, the best so many of each row come as strings: value:index:label.
    """

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferenceRequest(_Message):
    """Rows, one tensor per column; without `outputs`, all are given.

    Parameters: `timeout` in microseconds; `priority`, of which 1 is the most urgent;
    `binary_data_output` for all outputs.
    """

    id: str | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = Field(default_factory=list)


class ResponseOutput(_Message):
    """An output tensor, its data flat in row-major order, or `binary_data_size` bytes."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: Parameters | None = None


class InferenceResponse(_Message):
    """The outputs; `id` is the request's own."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[ResponseOutput]


class IndexEntry(_Message):
    """A version in memory, or a model that has none."""

    name: str
    version: str
    state: str = Field(description="READY or UNAVAILABLE.")
    reason: str


class Duration(_Message):
    """How often something was done, and how long all of it took."""

    count: int
    ns: int


class InferenceStatistics(_Message):
    """Of requests and runs. Preparing inputs and reading outputs is part of `compute_infer`."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class VersionInferenceStatistics(_Message):
    """Of one version since it was loaded."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970-01-01 UTC; 0: none yet.")
    inference_count: int = Field(description="Rows.")
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[Any]


class Statistics(_Message):
    """Of versions in memory."""

    model_stats: list[VersionInferenceStatistics]
