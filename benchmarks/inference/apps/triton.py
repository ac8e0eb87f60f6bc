"""Triton through pytriton: dynamic batching before a Python function."""

import tempfile

import numpy as np
from network import INPUT, NAME, OUTPUT, PORT, Network
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

_CLASSES = {"mlp": 2, "cnn": 10}


def main() -> None:
    network = Network()

    @batch
    def infer(**inputs: np.ndarray) -> list[np.ndarray]:
        return [network(inputs[INPUT])]

    config = TritonConfig(
        http_address="127.0.0.1", http_port=PORT, http_thread_count=8,
        allow_grpc=False, allow_metrics=False, log_verbose=0,
    )  # fmt: skip
    with Triton(config=config, workspace=f"{tempfile.mkdtemp()}/workspace") as triton:
        triton.bind(
            model_name=NAME,
            infer_func=infer,
            inputs=[Tensor(name=INPUT, dtype=np.float32, shape=network.shape)],
            outputs=[Tensor(name=OUTPUT, dtype=np.float32, shape=(_CLASSES[NAME],))],
            config=ModelConfig(
                max_batch_size=1024, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
