"""Images, sequences and texts over gRPC: what REST answers, bit for bit."""

import base64

import numpy as np
import pytest

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.other_bundles import make_other_bundle
from support.rpc import speaking, tensor


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return {name: make_other_bundle(root / name, name) for name in ("image", "sequence", "text")}


@pytest.fixture(scope="module")
def service(made, tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    registry = MemoryTracker(root / "registry")
    for name, each in made.items():
        registry.register(f"run-{name}", name, each.bundle.root, {})
        registry.set_alias(name, CHAMPION, 1)
    with speaking(Settings(home=root / "home", device="cpu"), registry) as service:
        yield service


def texts(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize("name", ["image", "sequence", "text"])
def test_the_answers_are_those_of_rest(service, made, name):
    rows = made[name].table.slice(0, 1 if name == "sequence" else 5).to_pylist()
    inputs = []
    for column in rows[0]:
        values = [row[column] for row in rows]
        array = np.array(values, float) if name == "sequence" else texts(values)
        inputs.append(tensor(column, array))
    output = "value" if name == "sequence" else "probabilities"
    found = service.client.infer(name, inputs).as_numpy(output)
    plain = [
        {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in row.items()}
        for row in rows
    ]
    answers = service.http.post(f"/v1/models/{name}/predict", json=plain).json()["predictions"]
    by_rest = [
        each["value"] if output == "value" else list(each["probabilities"].values())
        for each in answers
    ]
    assert found.astype(float).tolist() == by_rest


def test_pixels_are_taken_as_the_file_is(service, made):
    (pixels,) = (each.shape for each in made["image"].bundle.manifest.inputs)
    image = np.random.default_rng(0).integers(0, 256, (2, *pixels), np.uint8)
    found = service.client.infer("image", [tensor("photo", image, "UINT8")])
    assert found.as_numpy("probabilities").shape[0] == 2


def test_a_file_that_is_no_image_is_refused(service):
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT.*row 1"):
        service.client.infer("image", [tensor("photo", texts([b"no image"]))])
