"""Serving on a GPU: that it is really used, and that it answers as the CPU does."""

import ctypes

import numpy as np
import pytest
from onnx import TensorProto

from pellucid.errors import DeviceUnavailable
from pellucid_api.engine import devices, pinned
from pellucid_api.engine.devices import choose_device
from pellucid_api.engine.foreign import adopt
from pellucid_api.engine.model import Model
from support import foreign
from support.other_bundles import make_other_bundle
from support.serving import make_bundle, parity_feed

pytestmark = [
    pytest.mark.gpu,
    # Not where there is a driver that ONNX Runtime cannot use: that has to fail.
    pytest.mark.skipif(not devices._has_driver(), reason="there is no NVIDIA driver"),
]
CUDA = "CUDAExecutionProvider"


@pytest.fixture
def convolution(tmp_path):
    """A small network of images, (rows, 3, 16, 16) to (rows, 8)."""
    weights = np.random.default_rng(3).normal(size=(8, 3, 3, 3)).astype(np.float32)
    network = foreign.graph(
        [("x", TensorProto.FLOAT, ["rows", 3, 16, 16])],
        [("y", TensorProto.FLOAT, ["rows", 8])],
        [
            ("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}),
            ("Relu", ["a"], ["b"]),
            ("GlobalAveragePool", ["b"], ["c"]),
            ("Flatten", ["c"], ["y"]),
        ],
        {"w": weights},
    )
    foreign.write(network, tmp_path / "convolution")
    return adopt(tmp_path / "convolution", "convolution")


def test_cuda_is_there():
    assert choose_device("auto") == choose_device("cuda") == "cuda:0"


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        choose_device("cuda:99")


@pytest.mark.parametrize("device", ["cuda:0", "cuda:0,0"])
def test_a_network_answers_as_on_the_cpu_in_every_size(convolution, device):
    alone, model = Model(convolution, "cpu"), Model(convolution, device)
    assert (model.device, model.providers) == (device, [CUDA])
    assert all(session.graphs for session in model._spread._sessions)
    model.verify()
    assert len(list(model.prepare(256))) == 9
    for rows in (1, 2, 3, 64, 100, 256, 300, 1, 100):
        x = np.random.default_rng(rows).normal(size=(rows, 3, 16, 16)).astype(np.float32)
        expected, found = alone.run({"x": x})["y"], model.run({"x": x})["y"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert all(session.graphs for session in model._spread._sessions)  # none was given up


def test_a_bundle_with_strings_answers_as_on_the_cpu(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    alone, model = Model(bundle, "cpu"), Model(bundle, "cuda:0")
    assert CUDA in model.providers
    model.verify()
    for rows in (1, 7, 100):
        expected, found = alone.run(parity_feed(rows)), model.run(parity_feed(rows))
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4)
        assert found["label"].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("kind", ["image", "sequence", "text"])
def test_our_own_networks_answer_as_on_the_cpu(tmp_path, kind):
    bundle = make_other_bundle(tmp_path / kind, kind).bundle
    alone, model = Model(bundle, "cpu"), Model(bundle, "cuda:0")
    assert CUDA in model.providers
    model.verify()
    feed = alone.examples()
    expected, found = alone.run(feed), model.run(feed)
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, atol=1e-4)


def test_the_service_tells_the_provider_in_use(serve, register):
    register()
    client = serve(device="cuda")
    state = client.get("/health/ready").json()
    assert (state["ready"], state["device"]) == (True, "cuda:0")
    (served,) = state["models"]
    assert served["device"] == "cuda:0"
    assert CUDA in served["providers"]
    told = client.get("/v2/models/credit").json()["parameters"]
    assert told["device"] == "cuda:0"
    assert CUDA in told["providers"].split(",")


def test_memory_is_locked():
    array = pinned.empty((1024,), np.dtype(np.float32))
    flags = ctypes.c_uint()
    runtime = pinned._runtime()
    assert runtime is not None
    address = ctypes.c_void_p(array.ctypes.data)
    assert runtime.cudaHostGetFlags(ctypes.byref(flags), address) == 0
