"""BentoML: one worker, adaptive batching. Started by `bentoml serve`."""

import bentoml
import numpy as np
from network import Network


@bentoml.service(
    workers=1,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"max_concurrency": 256},
)
class Serving:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=1024, max_latency_ms=60_000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.network(rows.astype(np.float32, copy=False))
