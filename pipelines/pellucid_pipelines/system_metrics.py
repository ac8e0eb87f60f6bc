"""System metrics, under the names that MLflow's UI groups as such."""

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from pellucid.jobs.workspace import read_spool
from pellucid_pipelines.journal import Journal

_PREFIX = "system/"


class SystemMetrics:
    """A thread that samples CPU, memory, disk, network and GPUs, while its block runs.

    Steps go on where an earlier attempt's stopped. The last sample is taken at the end, so that
    even a short run has one.
    """

    def __init__(self, journal: Journal, spool: Path, seconds: float = 5.0) -> None:
        self._journal, self._seconds = journal, seconds
        self._step = _next_step(spool)
        self._ended = threading.Event()
        self._gpus = _gpu_handles()
        self._network = psutil.net_io_counters()
        psutil.cpu_percent()  # the next call measures from here
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        values = self._host() | self._gpu()
        self._journal.metrics(
            {f"{_PREFIX}{name}": round(value, 1) for name, value in values.items()}, self._step
        )
        self._step += 1

    def _host(self) -> dict[str, float]:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
        network = psutil.net_io_counters()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
            "network_receive_megabytes": (network.bytes_recv - self._network.bytes_recv) / 1e6,
            "network_transmit_megabytes": (network.bytes_sent - self._network.bytes_sent) / 1e6,
        }

    def _gpu(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for index, handle in enumerate(self._gpus):
            values |= {f"gpu_{index}_{name}": value for name, value in _gpu_values(handle).items()}
        return values


def _next_step(spool: Path) -> int:
    steps = [entry["step"] for _, entry in read_spool(spool) if entry["key"].startswith(_PREFIX)]
    return max(steps, default=-1) + 1


def _gpu_handles() -> list[Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
        return [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:  # no driver: a machine without a GPU
        return []


def _gpu_values(handle: Any) -> dict[str, float]:
    import pynvml

    values: dict[str, float] = {}
    unsupported = contextlib.suppress(pynvml.NVMLError)  # a card may answer some queries only
    with unsupported:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        values["memory_usage_percentage"] = memory.used / memory.total * 100
        values["memory_usage_megabytes"] = memory.used / 1e6
    with unsupported:
        values["utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
    with unsupported:
        watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        limit = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        values["power_usage_watts"] = watts
        values["power_usage_percentage"] = watts / limit * 100
    return values
