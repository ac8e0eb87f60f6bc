"""A service that speaks gRPC, and a client of `tritonclient`, as users have it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from onnx import TensorProto

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.foreign import echo, write
from support.rpc import RpcService, speaking
from support.serving import make_bundle

KINDS = {
    "BOOL": TensorProto.BOOL,
    **{f"UINT{bits}": getattr(TensorProto, f"UINT{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": getattr(TensorProto, f"INT{bits}") for bits in (8, 16, 32, 64)},
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcService]:
    """With the model `credit` and an echo of each datatype, shared by a module's tests."""
    root = tmp_path_factory.mktemp("rpc")
    registry = MemoryTracker(root / "registry")
    make_bundle(root / "bundle", bias=0.03)
    registry.register("run-1", "credit", root / "bundle", {"job": "job-1"})
    registry.set_alias("credit", CHAMPION, 1)
    for name, kind in KINDS.items():
        file = write(echo(("x", kind, ["rows", 2])), root / name)
        registry.register_onnx(f"run-{name}", f"echo-{name.lower()}", file, {})
        registry.set_alias(f"echo-{name.lower()}", CHAMPION, 1)
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with speaking(settings, registry) as service:
        yield service


@pytest.fixture
def start(settings: Settings, registry: MemoryTracker) -> Iterator[Any]:
    """Starts a service of the test's own, with changed settings where wanted."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(
            speaking(settings.model_copy(update=changes), registry)
        )
