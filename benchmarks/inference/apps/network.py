"""The network in ONNX Runtime, one thread: what every server calls. Needs nothing of Pellucid."""

import os

import numpy as np
import onnxruntime

NAME, PATH, PORT = os.environ["MODEL_NAME"], os.environ["MODEL"], int(os.environ["PORT"])
INPUT, OUTPUT = "input", "probabilities"


class Network:
    """(N, *shape) float32 -> (N, classes) float32."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(PATH, options, providers=providers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return tuple(self._session.get_inputs()[0].shape[1:])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: rows})[0]


def split(found: np.ndarray, rows: list[np.ndarray]) -> list[np.ndarray]:
    """The answers of a joined batch, cut into those of each request."""
    return np.split(found, np.cumsum([len(each) for each in rows])[:-1])
