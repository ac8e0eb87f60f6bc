"""Where networks run: ONNX Runtime's execution providers, and whether they were really got.

ONNX Runtime goes on without a provider that does not load, or that fails in a run. Here a session
has what was asked for, or there is an error.
"""

import ctypes
import functools
import logging
import platform
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

import numpy as np
import onnxruntime

from pellucid.cores import available_cores
from pellucid.errors import DeviceUnavailable

Device = str  # cpu, cuda:0, cuda:0,1, tensorrt:0
Kind = Literal["cpu", "cuda", "tensorrt"]

CPU_PROVIDER = "CPUExecutionProvider"
_CUDA_PROVIDER = "CUDAExecutionProvider"
_PROVIDERS: dict[str, Kind] = {"TensorrtExecutionProvider": "tensorrt", _CUDA_PROVIDER: "cuda"}
_ENGINES = "tensorrt"  # directory beside the model: TensorRT builds for minutes
_QUIET = 4  # ONNX Runtime's log severity "fatal": what fails here is told by our own errors

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """A provider and its GPUs, one for each session; `number` is that of the first."""

    kind: Kind
    numbers: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, device: Device) -> Self:
        """From a device's name, as the settings have checked it."""
        kind, _, numbers = device.partition(":")
        return cls(cast("Kind", kind), tuple(int(each) for each in (numbers or "0").split(",")))

    @property
    def number(self) -> int:
        """The GPU of the only session."""
        return self.numbers[0]

    @property
    def each(self) -> "list[Place]":
        """The place of each session."""
        return [Place(self.kind, (number,)) for number in self.numbers]

    @property
    def device(self) -> Device:
        """The name."""
        return "cpu" if self.kind == "cpu" else f"{self.kind}:{','.join(map(str, self.numbers))}"


CPU = Place("cpu")


def choose_device(wanted: str) -> Device:
    """The device that models will run on, found by running a graph on each GPU of it.

    Args:
        wanted: auto, which is cuda:0 where that works, or a device; cuda is cuda:0.

    Raises:
        DeviceUnavailable: a GPU was asked for and cannot be used.
    """
    if wanted == "cpu":
        return "cpu"
    place = Place.of("cuda" if wanted == "auto" else wanted)
    for each in place.each:
        obstacle = _obstacle(each)
        if obstacle is None:
            continue
        if wanted == "auto":
            logger.info("serving on the CPU: %s", obstacle)
            return "cpu"
        raise DeviceUnavailable(
            f"{each.device} was asked for and cannot be used: {obstacle}.",
            remedy="Install the NVIDIA driver and the libraries that ONNX Runtime needs (CUDA and "
            "cuDNN; for TensorRT, that too), or set PELLUCID_DEVICE=cpu.",
        )
    return place.device


def open_session(
    model: bytes | str, place: Place = CPU, threads: int = 0, *, graphs: bool = False
) -> onnxruntime.InferenceSession:
    """A session with the providers of a place; see `device_of` for what it got.

    Args:
        model: an ONNX file's path, or its content.
        place: of one session.
        threads: of a run on the CPU; 0 is one for each core that this process may use.
        graphs: capture CUDA graphs. ONNX Runtime refuses models that cannot run on CUDA wholly.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    # Idle threads that spin would take the cores from the other models and requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if place.kind != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=_providers(model, place, graphs=graphs),
        enable_fallback=0,  # else a run that fails on the GPU is repeated on the CPU, for good
    )


def device_of(session: onnxruntime.InferenceSession) -> Kind:
    """The kind of place that the session has got."""
    got = session.get_providers()
    return next((kind for name, kind in _PROVIDERS.items() if name in got), "cpu")


def running_on(session: onnxruntime.InferenceSession) -> list[str]:
    """The providers that have some of the graph's nodes, in the session's order.

    A provider that has no kernel for any of the operators is not among them.
    """
    if device_of(session) == "cpu":
        return [CPU_PROVIDER]
    subgraphs = session.get_provider_graph_assignment_info()
    having = {each.ep_name for each in subgraphs if each.get_nodes()}
    return [name for name in session.get_providers() if name in having] or [CPU_PROVIDER]


def _providers(model: bytes | str, place: Place, *, graphs: bool) -> list[Any]:
    if place.kind == "cpu":
        return [CPU_PROVIDER]
    # TF32 would break parity with PyTorch.
    cuda = {"device_id": str(place.number), "use_tf32": "0"}
    if graphs:
        cuda["enable_cuda_graph"] = "1"
    providers: list[Any] = [(_CUDA_PROVIDER, cuda), CPU_PROVIDER]
    if place.kind == "tensorrt":
        tensorrt = {"device_id": str(place.number)}
        if isinstance(model, str):
            tensorrt |= {
                "trt_engine_cache_enable": "1",
                "trt_timing_cache_enable": "1",
                "trt_engine_cache_path": str(Path(model).with_name(_ENGINES)),
            }
        providers.insert(0, ("TensorrtExecutionProvider", tensorrt))
    return providers


@functools.cache  # an answer for the whole life of the process: libraries are loaded once
def _obstacle(place: Place) -> str | None:
    """Why a place of one session cannot be used."""
    provider = next(name for name, kind in _PROVIDERS.items() if kind == place.kind)
    if provider not in onnxruntime.get_available_providers():
        return f"this build of ONNX Runtime has no {provider}"
    if not _has_driver():
        return "there is no NVIDIA driver"
    onnxruntime.preload_dlls()  # CUDA and cuDNN from wheels, where they are installed
    try:
        session = open_session(_negation(), place)
        if device_of(session) != place.kind:
            return f"ONNX Runtime cannot load {provider}"
        (found,) = session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # ONNX Runtime's errors share no base class
        return str(error)
    return None if found[0] == -1 else "it computes nonsense"


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _negation() -> bytes:
    from onnx import TensorProto, helper  # only where a GPU may be there

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", *zip(ends))
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
