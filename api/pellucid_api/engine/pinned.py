"""Memory that the GPU copies from without a detour: locked in place, where CUDA can do that.

A copy from ordinary memory goes through a buffer of the driver.
"""

import ctypes
import functools
import logging
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from pellucid_api.engine.values import Values

_PORTABLE = 1  # cudaHostRegisterPortable: for all GPUs

logger = logging.getLogger(__name__)


def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Values:
    """As `np.empty`, locked until it is freed; ordinary memory where it cannot be locked."""
    array = np.empty(shape, dtype)
    runtime = _runtime()
    if runtime is None or not array.nbytes:
        return array
    address = array.ctypes.data
    size = ctypes.c_size_t(array.nbytes)
    code = runtime.cudaHostRegister(ctypes.c_void_p(address), size, ctypes.c_uint(_PORTABLE))
    if code:
        logger.warning("CUDA cannot lock memory (error %d): copies are slower", code)
        return array
    # Called before NumPy frees the memory; views and tensors over it keep the array.
    weakref.finalize(array, runtime.cudaHostUnregister, ctypes.c_void_p(address)).atexit = False
    return array


@functools.cache
def _runtime() -> ctypes.CDLL | None:
    """CUDA's runtime library, which ONNX Runtime has loaded."""
    major = onnxruntime.cuda_version.partition(".")[0]
    try:
        return ctypes.CDLL(f"libcudart.so.{major}")
    except OSError as error:
        logger.warning("memory is not locked, and copies are slower: %s", error)
        return None
