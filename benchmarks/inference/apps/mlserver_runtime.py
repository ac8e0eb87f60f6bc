"""MLServer: a custom runtime, as its documentation writes one, and the files it is started by."""

import json
import os
import socket
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import NAME, OUTPUT, PORT, Network


class Onnx(MLModel):
    async def load(self) -> bool:
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self.network(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output(OUTPUT, found)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main() -> None:
    """Write the settings and become the server."""
    server = {
        "host": "127.0.0.1",
        "http_port": PORT,
        "grpc_port": _free_port(),
        "parallel_workers": 0,  # in the server's own process: on one core the faster choice
        "debug": False,
        "metrics_endpoint": None,
    }
    model = {
        "name": NAME,
        "implementation": "mlserver_runtime.Onnx",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
    }
    Path("settings.json").write_text(json.dumps(server))
    Path("model-settings.json").write_text(json.dumps(model))
    mlserver = Path(sys.executable).with_name("mlserver")
    os.execv(mlserver, [str(mlserver), "start", "."])


if __name__ == "__main__":
    main()
