"""How rows are sent and answers read: the Open Inference Protocol, and what peers document."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inference.models import INPUT

_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Message:
    """A POST."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One way to ask. `write` takes (N, *shape) float32; `read` gives (N, classes)."""

    path: str  # {model} is the model's name
    write: Callable[[np.ndarray], Message]
    read: Callable[[dict[str, str], bytes], np.ndarray]  # names of headers in lower case


def _json(content: object) -> Message:
    body = json.dumps(content, separators=(",", ":")).encode()
    return Message(body, {"Content-Type": "application/json"})


def _decimals(rows: np.ndarray) -> list:
    """Nested lists, with the six decimals that were drawn and not float32's seventeen."""
    return np.round(rows.astype(np.float64), 6).tolist()


def _tensor(rows: np.ndarray) -> dict[str, object]:
    return {"name": INPUT, "shape": rows.shape, "datatype": "FP32"}


def _write_oip(rows: np.ndarray) -> Message:
    return _json({"inputs": [_tensor(rows) | {"data": _decimals(rows.ravel())}]})


def _read_oip(headers: dict[str, str], body: bytes) -> np.ndarray:
    if length := headers.get(_LENGTH.lower()):
        (output,) = json.loads(body[: int(length)])["outputs"]
        return np.frombuffer(body[int(length) :], np.float32).reshape(output["shape"])
    (output,) = json.loads(body)["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def _write_binary(rows: np.ndarray) -> Message:
    tensor = _tensor(rows) | {"parameters": {"binary_data_size": rows.nbytes}}
    head = _json({"inputs": [tensor], "parameters": {"binary_data_output": True}}).body
    headers = {"Content-Type": "application/octet-stream", _LENGTH: str(len(head))}
    return Message(head + rows.tobytes(), headers)


def plain(path: str, key: str, answer: Callable[[object], object] = lambda found: found) -> Format:
    """`{key: rows}` as nested lists; `answer` finds the rows of answers in the reply."""

    def read(_: dict[str, str], body: bytes) -> np.ndarray:
        return np.array(answer(json.loads(body)), np.float64)

    return Format(path, lambda rows: _json({key: _decimals(rows)}), read)


OIP = Format("/v2/models/{model}/infer", _write_oip, _read_oip)
BINARY = Format("/v2/models/{model}/infer", _write_binary, _read_oip)
