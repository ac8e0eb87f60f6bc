"""Messages of the Open Inference Protocol with binary tensor data, made and read by hand."""

import json
from typing import Any

import numpy as np

from pellucid_api.engine.datatypes import DTYPES

LENGTH = "Inference-Header-Content-Length"
Body = tuple[dict[str, str], bytes]  # headers, content


def packed(array: Any, datatype: str) -> bytes:
    """The bytes of a tensor, as the binary tensor data extension says."""
    if datatype != "BYTES":
        return np.asarray(array, DTYPES[datatype]).tobytes()
    return b"".join(
        len(each).to_bytes(4, "little") + each
        for each in (v if isinstance(v, bytes) else str(v).encode() for v in np.ravel(array))
    )


def binary(
    inputs: list[tuple[str, str, list[int], bytes]], *, all_binary: bool = False, **rest: Any
) -> Body:
    """A request whose inputs (name, datatype, shape, data) all follow the JSON."""
    described = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(data)},
        }
        for name, datatype, shape, data in inputs
    ]
    request: dict[str, Any] = {"inputs": described} | rest
    if all_binary:
        request["parameters"] = {"binary_data_output": True}
    text = json.dumps(request).encode()
    headers = {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    return headers, text + b"".join(data for *_, data in inputs)


def arrays(response: Any) -> dict[str, np.ndarray]:
    """The outputs of a response, by name, wherever their data are."""
    length = response.headers.get(LENGTH)
    end = int(length) if length else len(response.content)
    found = {}
    for output in json.loads(response.content[:end])["outputs"]:
        datatype, shape = output["datatype"], output["shape"]
        if "data" in output:
            array = np.array(output["data"], DTYPES[datatype])
        else:
            start, end = end, end + output["parameters"]["binary_data_size"]
            array = unpacked(response.content[start:end], datatype)
        found[output["name"]] = array.reshape(shape)
    return found


def unpacked(raw: bytes, datatype: str) -> np.ndarray:
    """A flat array of the bytes of a tensor; those of BYTES as str."""
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[datatype])
    texts = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return np.array(texts, dtype=object)
