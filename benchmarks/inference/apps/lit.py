"""LitServe: one worker, its own batching."""

import litserve
import numpy as np
from network import PORT, Network, split


class Serving(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: dict) -> np.ndarray:
        return np.array(request["input"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def predict(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return split(self.network(np.concatenate(inputs)), inputs)

    def unbatch(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        return outputs

    def encode_response(self, output: np.ndarray) -> dict:
        return {"output": output.tolist()}


if __name__ == "__main__":
    api = Serving(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=PORT,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
