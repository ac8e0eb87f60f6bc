"""A service that speaks gRPC, and requests to it as tritonclient makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from support.ports import free_port
from support.serving import ServiceClient, held_feed, serving


class RpcService:
    """A running service: over HTTP, over gRPC, and from the inside."""

    def __init__(self, http: ServiceClient, port: int) -> None:
        self.http, self.services, self.port = http, http.services, port
        self.address = f"127.0.0.1:{port}"
        self.client = triton.InferenceServerClient(self.address)


@contextmanager
def speaking(settings: Settings, registry: MemoryTracker) -> Iterator[RpcService]:
    """The service with gRPC on a free port, until the end of the block."""
    port = free_port()
    with serving(settings.model_copy(update={"grpc_port": port}), registry) as http:
        service = RpcService(http, port)
        with service.client:
            yield service


def tensor(name: str, values: Any, datatype: str = "") -> triton.InferInput:
    """An input with its values."""
    datatype = datatype or ("BYTES" if values.dtype == object else "FP64")
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def inputs(rows: list[dict[str, Any]], **changes: Any) -> list[triton.InferInput]:
    """The inputs for rows, with changed columns where wanted."""
    feed = held_feed(rows) | changes
    return [
        tensor(name, np.array(values, object if name == "purpose" else float))
        for name, values in feed.items()
    ]
