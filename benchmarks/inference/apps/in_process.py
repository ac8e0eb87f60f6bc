"""ONNX Runtime alone: batches of one size, one after the other, for some seconds.

in_process.py ROWS SECONDS   ->   {"rows_per_s", "p50", "p90", "p99"} in milliseconds
"""

import json
import sys
import time

import numpy as np
from network import Network


def main() -> None:
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    network = Network()
    rows = np.random.default_rng(0).normal(size=(count, *network.shape)).astype(np.float32)
    for _ in range(10):
        network(rows)
    times = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        network(rows)
        times.append(time.perf_counter() - started)
    found = dict(zip(("p50", "p90", "p99"), 1e3 * np.percentile(times, (50, 90, 99)), strict=True))
    print(json.dumps({"rows_per_s": count * len(times) / sum(times)} | found))


if __name__ == "__main__":
    main()
