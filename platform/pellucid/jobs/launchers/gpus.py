"""How many GPUs of this machine training processes may use; asked of the driver, without torch."""

import os
import shutil
import subprocess


def count() -> int:
    """As many as NVIDIA's driver lists and CUDA_VISIBLE_DEVICES leaves."""
    there = _listed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [each.strip() for each in visible.split(",")]
    usable = named[: named.index("-1")] if "-1" in named else named
    return min(there, sum(each != "" for each in usable))


def _listed() -> int:
    try:
        import pynvml
    except ModuleNotFoundError:  # it comes with what trains, which may be elsewhere
        return _printed()
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:  # no driver: a machine without a GPU
        return 0


def _printed() -> int:
    """By `nvidia-smi -L`, a line for each."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    answer = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())
