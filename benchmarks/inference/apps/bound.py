"""ONNX Runtime alone, its inputs and outputs bound: what the network and its copies take at most.

bound.py ROWS SECONDS DEVICE   ->   {"rows_per_s", "p50", "p90", "p99", "resident"}

Each batch is copied to the device, run and copied back; times in milliseconds. `resident` is the
rows per second of runs alone, without the copies.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from network import PATH

_BATCHES = 4  # different ones, in turn


class Bound:
    """(ROWS, *shape) float32 -> (ROWS, classes) float32."""

    def __init__(self, count: int, device: str) -> None:
        options = onnxruntime.SessionOptions()
        providers = ["CPUExecutionProvider"]
        memory = ("cpu", 0)
        if device != "cpu":
            onnxruntime.preload_dlls()
            number = int(device.partition(":")[2].split(",")[0] or 0)
            # As ours, which must answer as PyTorch does
            cuda = {"device_id": str(number), "use_tf32": "0"}
            providers, memory = [("CUDAExecutionProvider", cuda)], ("cuda", number)
        self._session = onnxruntime.InferenceSession(
            PATH, options, providers=providers, enable_fallback=0
        )
        if device != "cpu" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise SystemExit("ONNX Runtime did not get CUDA")
        (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
        self.shape = (count, *given.shape[1:])
        new = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._input = new(self.shape, np.float32, *memory)
        self._output = new((count, *made.shape[1:]), np.float32, *memory)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(given.name, self._input)
        self._binding.bind_ortvalue_output(made.name, self._output)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self._input.update_inplace(rows)
        self.run()
        return self._output.numpy()


def timed(call: Callable[[int], object], seconds: float) -> list[float]:
    """Seconds of each call, after a fifth of the time that does not count."""
    times: list[float] = []
    for length in (seconds / 5, seconds):
        times = []
        until = time.perf_counter() + length
        while (started := time.perf_counter()) < until or not times:
            call(len(times))
            times.append(time.perf_counter() - started)
    return times


def main() -> None:
    count, seconds, device = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    network = Bound(count, device)
    generator = np.random.default_rng(0)
    batches = [generator.normal(size=network.shape).astype(np.float32) for _ in range(_BATCHES)]
    times = timed(lambda turn: network(batches[turn % _BATCHES]), seconds)
    alone = timed(lambda _: network.run(), seconds / 4)
    found = dict(zip(("p50", "p90", "p99"), 1e3 * np.percentile(times, (50, 90, 99)), strict=True))
    rates = {
        "rows_per_s": count * len(times) / sum(times),
        "resident": count * len(alone) / sum(alone),
    }
    print(json.dumps(rates | found))


if __name__ == "__main__":
    main()
