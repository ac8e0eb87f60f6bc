"""Ray Serve: one replica, `serve.batch`."""

import signal

import numpy as np
import ray
from network import PORT, Network, split
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1})
class Serving:
    def __init__(self) -> None:
        self.network = Network()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def run(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        return split(self.network(np.concatenate(rows)), rows)

    async def __call__(self, request: Request) -> dict:
        rows = np.array((await request.json())["rows"], np.float32)
        return {"probabilities": (await self.run(rows)).tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(
        http_options={"host": "127.0.0.1", "port": PORT},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    serve.run(Serving.bind())
    signal.pause()
