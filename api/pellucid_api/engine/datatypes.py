"""Tensor datatypes: the protocol's, NumPy's, and ONNX Runtime's names for them."""

from typing import Any

import ml_dtypes
import numpy as np

from pellucid.bundle import Datatype

DTYPES: dict[Datatype, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.BF16: np.dtype(ml_dtypes.bfloat16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BYTES: np.dtype(object),  # of str
}
FLOATS = frozenset({Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64})

OF_ONNX: dict[str, Datatype] = {
    "tensor(bool)": Datatype.BOOL,
    **{f"tensor(uint{bits})": Datatype(f"UINT{bits}") for bits in (8, 16, 32, 64)},
    **{f"tensor(int{bits})": Datatype(f"INT{bits}") for bits in (8, 16, 32, 64)},
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
