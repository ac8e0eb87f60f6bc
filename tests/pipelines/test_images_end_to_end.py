"""An image column from its bytes to a network, its explanation and its ONNX model."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pellucid import plan
from pellucid.datasets.splits import Parts
from pellucid.errors import InvalidData
from pellucid.schema import Column, Role, Schema, StorageType
from pellucid_pipelines import architectures, augmentation, data, losses, preprocessing
from pellucid_pipelines.explain import explain, write_table
from pellucid_pipelines.export import export_model, measure_parity
from pellucid_pipelines.loop import Fit, predict
from pellucid_pipelines.places_figures import places_figures

SCHEMA = Schema(
    columns=(
        Column(name="photo", type=StorageType.BINARY),
        Column(name="which", type=StorageType.STRING, role=Role.TARGET),
    )
)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def bars(count: int = 120, seed: int = 0) -> pa.Table:
    """A bright bar, lying or standing, somewhere in noise."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for i in range(count):
        image = rng.integers(0, 60, (10, 12), np.uint8)
        place = rng.integers(2, 8)
        if i % 2:
            image[place] = 250
        else:
            image[:, place] = 250
        images.append(png(image))
        labels.append("lying" if i % 2 else "standing")
    return pa.table({"photo": pa.array(images, pa.large_binary()), "which": labels})


def a_plan(**parts: object) -> plan.Plan:
    given = {
        "name": "bars",
        "data": {"dataset": "bars"},
        "model": {"kind": "cnn", "widths": [8, 8], "blocks": 1},
        "training": {"epochs": 15, "batch_size": 20},
        "augmentation": {"crop": 1, "cutout": 2},
        "explanation": {"rows": 12, "background": 16},
        "optimizer": {"kind": "adamw", "lr": 0.01},
    }
    return plan.resolve(plan.Plan.parse(given | parts), SCHEMA)[0]


def prepared(spec: plan.Plan, table: pa.Table) -> data.Data:
    rows = np.arange(len(table))
    parts = Parts(rows[:80], rows[80:100], rows[100:])
    return data.prepare(table, parts, SCHEMA, spec)


def fitted(spec: plan.Plan, examples: data.Data) -> torch.nn.Module:
    torch.manual_seed(0)
    features, target = examples.features(0), examples.target
    fit = Fit(
        architectures.build(spec.model, features, target.outputs, target.link),
        losses.build(spec.loss, target),
        examples.rows(examples.parts.train),
        examples.rows(examples.parts.validation),
        spec,
        device=torch.device("cpu"),
        augment=augmentation.build(spec.augmentation, features),
    )
    fit.run()
    return fit.network


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_network_learns_and_is_explained_and_exported(tmp_path):
    spec, table = a_plan(), bars()
    examples = prepared(spec, table)
    assert examples.preprocessing.inputs[0].shape == (10, 12, 1)
    network = fitted(spec, examples)
    test = examples.rows(examples.parts.test)
    right = (predict(network, test.inputs)[:, 0] > 0) == (test.targets == 1)
    assert right.float().mean() >= 0.95

    explained = explain(
        network,
        examples.preprocessing,
        examples.target,
        background=examples.take(examples.parts.train),
        rows=examples.take(examples.parts.test),
        spec=spec.explanation,
        seed=0,
    )
    assert explained.method == "deep"
    assert explained.values.shape == (12, 1, 1)
    assert explained.places.values.shape == (12, 10, 12)
    assert explained.additivity_error < 0.05
    total = explained.base + explained.values.sum(axis=1)
    np.testing.assert_allclose(total, explained.prediction, atol=0.05 * abs(total).max())

    write_table(explained, tmp_path / "explanations.parquet")
    written = pq.read_table(tmp_path / "explanations.parquet")
    assert len(written["places_photo"][0].as_py()) == 120
    places_figures(explained, tmp_path)
    assert (tmp_path / "shap_images.png").read_bytes().startswith(b"\x89PNG")

    export_model(network, examples.preprocessing, examples.target, tmp_path / "model.onnx")
    rows = examples.take(examples.parts.test)
    parity = measure_parity(network, examples.preprocessing, examples.target, rows, tmp_path)
    assert parity.max_error <= 1e-5


def test_size_and_channels_are_those_of_the_training_rows():
    spec = plan.Preprocessing()
    column = SCHEMA.having(Role.FEATURE)

    def shape(*arrays: np.ndarray, **image: object) -> tuple[int, ...]:
        table = pa.table({"photo": pa.array([png(each) for each in arrays], pa.large_binary())})
        chosen = spec.model_copy(update={"image": plan.Images(**image)})
        fit = preprocessing.fit(table, column, chosen, "image")
        encoded = fit.encode(table)
        dense = fit(encoded)
        assert dense.dtype == torch.uint8
        assert dense.shape == (len(arrays), *fit.features.shape)
        assert encoded["photo"].shape == (len(arrays), *fit.inputs[0].shape)
        return fit.features.shape

    grey, colour = np.zeros((10, 12), np.uint8), np.eye(9, dtype=np.uint8)[..., None] * [9, 8, 7]
    colour = colour.astype(np.uint8)
    assert shape(grey) == (1, 10, 12)
    assert shape(grey, colour) == (3, 10, 12)
    assert shape(colour, grey) == (3, 9, 9)
    assert shape(np.zeros((300, 600), np.uint8)) == (1, 64, 128)
    assert shape(colour, channels=1, size=(5, 6)) == (1, 5, 6)
    assert shape(grey, frames=4) == (4, 1, 10, 12)


@pytest.mark.parametrize(
    ("bad", "message"), [(None, "missing"), (b"no image", "no image"), (b"", "no image")]
)
def test_a_bad_image_is_named_by_its_row(bad: bytes | None, message: str):
    images = [*bars(100)["photo"].to_pylist(), bad]
    table = pa.table({"photo": pa.array(images, pa.large_binary())})
    fit = preprocessing.fit(
        table.slice(0, 10), SCHEMA.having(Role.FEATURE), plan.Preprocessing(), "image"
    )
    with pytest.raises(InvalidData, match=message) as caught:
        fit.encode(table)
    assert caught.value.where == {"column": "photo", "row": 101}


def test_one_thread_or_many_decode_the_same(monkeypatch):
    table = bars(200)
    fit = preprocessing.fit(table, SCHEMA.having(Role.FEATURE), plan.Preprocessing(), "image")
    many = fit.encode(table)["photo"]
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert torch.equal(fit.encode(table)["photo"], many)
