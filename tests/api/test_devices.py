"""The device that is asked for is the device that is used, or there is an error."""

import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError

from pellucid.errors import DeviceUnavailable, InvalidData
from pellucid.settings import Settings
from pellucid_api.engine import devices
from pellucid_api.engine.binding import Bound
from pellucid_api.engine.devices import CPU, Place, choose_device, device_of, open_session
from pellucid_api.engine.model import Model
from support import foreign
from support.serving import ROW, make_bundle

DENSE = foreign.dense().SerializeToString()


@pytest.fixture
def working(monkeypatch):
    """The GPUs that work; the others tell why not."""
    numbers = set()

    def obstacle(place):
        return None if place.number in numbers else f"no GPU {place.number}"

    monkeypatch.setattr(devices, "_obstacle", obstacle)
    return numbers


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("cpu", CPU),
        ("cuda", Place("cuda", (0,))),
        ("cuda:1", Place("cuda", (1,))),
        ("cuda:0,0,2", Place("cuda", (0, 0, 2))),
        ("tensorrt:3", Place("tensorrt", (3,))),
    ],
)
def test_places(name, place):
    assert Place.of(name) == place
    assert Place.of(place.device) == place
    assert [each.numbers for each in place.each] == [(number,) for number in place.numbers]


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:0,", "cpu:0", "CUDA", ""])
def test_devices_that_there_are_not(device):
    with pytest.raises(ValidationError, match="device"):
        Settings(device=device)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "cuda:0,1", "tensorrt:0,0"])
def test_devices_that_can_be_asked_for(device):
    assert Settings(device=device).device == device


def test_auto_takes_the_first_gpu_that_works(working):
    assert choose_device("auto") == "cpu"
    working.add(0)
    assert choose_device("auto") == "cuda:0"


def test_a_gpu_is_never_replaced_silently(working):
    with pytest.raises(DeviceUnavailable, match=r"cuda:0 was asked for .* no GPU 0"):
        choose_device("cuda")
    working.add(0)
    assert choose_device("cuda") == "cuda:0"
    with pytest.raises(DeviceUnavailable, match=r"cuda:1 was asked for .* no GPU 1"):
        choose_device("cuda:0,1")
    working.add(1)
    assert choose_device("cuda:0,1") == "cuda:0,1"
    assert choose_device("tensorrt") == "tensorrt:0"


@pytest.fixture
def fresh():
    devices._obstacle.cache_clear()
    yield
    devices._obstacle.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_build_without_the_provider(monkeypatch, device):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert choose_device("auto") == "cpu"
    with pytest.raises(DeviceUnavailable, match=r"has no .*ExecutionProvider"):
        choose_device(device)


@pytest.fixture
def driver(monkeypatch, fresh):
    """A machine that seems to have CUDA and TensorRT."""
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_does_not_load(monkeypatch, device):
    """ONNX Runtime only logs it."""
    real = open_session
    monkeypatch.setattr(devices, "open_session", lambda model, place: real(model))
    with pytest.raises(DeviceUnavailable, match="cannot load"):
        choose_device(device)


class Got:
    """A session that has CUDA, and answers something."""

    def __init__(self, answer):
        self._answer = answer

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, names, feed):
        return [self._answer]


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_miscalculates(monkeypatch):
    monkeypatch.setattr(devices, "open_session", lambda model, place: Got(np.zeros(1)))
    with pytest.raises(DeviceUnavailable, match="nonsense"):
        choose_device("cuda")


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_works(monkeypatch):
    monkeypatch.setattr(devices, "open_session", lambda model, place: Got(-np.ones(1)))
    assert choose_device("auto") == "cuda:0"


def test_sessions_are_opened_with_what_their_place_needs(monkeypatch):
    """And never with the fallback, which would repeat a failed run on the CPU."""
    seen = {}

    def session(model, options, **arguments):
        seen.update(arguments, options=options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    cuda = {"device_id": "1", "use_tf32": "0"}
    open_session("some/model.onnx", Place("cuda", (1,)))
    assert seen["providers"] == [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    assert seen["enable_fallback"] == 0
    open_session("some/model.onnx", Place("cuda", (1,)), 3, graphs=True)
    assert seen["providers"][0][1] == cuda | {"enable_cuda_graph": "1"}
    assert seen["options"].intra_op_num_threads == 3
    open_session("some/model.onnx", Place("tensorrt", (1,)))
    (name, tensorrt), *rest = seen["providers"]
    assert name == "TensorrtExecutionProvider"
    assert tensorrt["trt_engine_cache_path"] == "some/tensorrt"
    assert rest == [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    open_session("some/model.onnx")
    assert seen["providers"] == ["CPUExecutionProvider"]


def test_what_a_session_got():
    assert device_of(open_session(DENSE)) == "cpu"
    assert device_of(Got(None)) == "cuda"


def test_a_model_that_falls_back_is_refused(tmp_path, monkeypatch):
    """As it does where the driver breaks after the start."""
    real = open_session
    monkeypatch.setattr(
        "pellucid_api.engine.model.open_session",
        lambda model, place, threads, *, graphs: real(model, threads=threads),
    )
    for device in ("cuda:0", "cuda:0,1", "tensorrt:0"):
        kind = device.partition(":")[0]
        with pytest.raises(DeviceUnavailable, match=f"asked for {kind} and took cpu"):
            Model(make_bundle(tmp_path / device), device)


@pytest.fixture
def disguised(monkeypatch):
    """Sessions on the CPU that say they have CUDA, with nodes on the providers given."""

    def disguise(*providers):
        real = open_session
        monkeypatch.setattr(devices, "_obstacle", lambda place: None)
        monkeypatch.setattr(
            "pellucid_api.engine.model.open_session",
            lambda model, place, threads, *, graphs: real(model, threads=threads),
        )
        monkeypatch.setattr("pellucid_api.engine.model.device_of", lambda session: "cuda")
        monkeypatch.setattr("pellucid_api.engine.model.running_on", lambda session: [*providers])

    return disguise


def test_a_model_on_two_gpus_answers_as_on_the_cpu(tmp_path, disguised):
    bundle = make_bundle(tmp_path / "b")
    alone = Model(bundle, "cpu")
    disguised("CUDAExecutionProvider", "CPUExecutionProvider")
    spread = Model(bundle, "cuda:0,1")
    assert spread.device == "cuda:0,1"
    assert spread.providers == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert spread.verify() < 1e-5
    assert sorted(spread.prepare(300)) == [2**i for i in range(10)]
    feed = {name: np.concatenate([array] * 9) for name, array in alone.examples().items()}
    expected, found = alone.run(feed), spread.run(feed)
    np.testing.assert_array_equal(found["label"], expected["label"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=1e-6)
    spread.stop()


def test_a_size_that_does_not_fit_is_told(tmp_path, disguised, monkeypatch):
    disguised("CUDAExecutionProvider")
    model = Model(make_bundle(tmp_path / "b"), "cuda:0")
    run = Bound._run

    def small(bound, feed):
        if len(next(iter(feed.values()))) > 100:
            raise RuntimeError("Failed to allocate memory")
        return run(bound, feed)

    monkeypatch.setattr(Bound, "_run", small)
    assert len(list(model.prepare(64))) == 7
    with pytest.raises(InvalidData, match=r"cuda:0 cannot run .* allocate memory") as caught:
        list(model.prepare(1024))
    assert "PELLUCID_MAX_BATCH_ROWS" in caught.value.remedy


def test_on_the_cpu_there_is_nothing_to_prepare(tmp_path):
    assert not list(Model(make_bundle(tmp_path / "b"), "cpu").prepare(1024))


def test_a_model_of_operators_that_no_gpu_has_tells_that_it_runs_on_the_cpu(tmp_path, disguised):
    disguised("CPUExecutionProvider")
    assert Model(make_bundle(tmp_path / "b"), "cuda:0").device == "cpu"


def test_the_service_tells_devices_and_providers(serve, register, disguised):
    disguised("CUDAExecutionProvider", "CPUExecutionProvider")
    register()
    client = serve(device="cuda:1,1,0,0", max_batch_rows=64)
    state = client.get("/health/ready").json()
    assert (state["ready"], state["device"]) == (True, "cuda:1,1,0,0")
    assert state["models"][0]["device"] == "cuda:1,1,0,0"
    assert state["models"][0]["providers"] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert client.get("/v2/models/credit").json()["parameters"] == {
        "device": "cuda:1,1,0,0",
        "providers": "CUDAExecutionProvider,CPUExecutionProvider",
    }
    (instances,) = client.get("/v2/models/credit/config").json()["instance_group"]
    assert instances == {"name": "credit_0", "kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}
    rows = [ROW | {"age": age} for age in range(300)]
    found = client.post("/v1/models/credit/predict", json=rows).json()["predictions"]
    alone = [client.post("/v1/models/credit/predict", json=[row]).json() for row in rows[::60]]
    for whole, single in zip(found[::60], alone, strict=True):
        (single,) = single["predictions"]
        assert whole["probabilities"] == pytest.approx(single["probabilities"])
    assert len({each["probabilities"]["good"] for each in found}) > 250  # no row for another
