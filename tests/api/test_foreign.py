"""ONNX files that become bundles, and those that are refused."""

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto

from pellucid.bundle import MODEL, Bundle, Datatype, Output
from pellucid.errors import InvalidData
from pellucid.schema import Kind
from pellucid_api.engine.foreign import adopt
from pellucid_api.engine.model import Model
from support import foreign

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def external(root):
    """`dense` with its weights in a folder beside it."""
    path = root / "network.onnx"
    (root / "data").mkdir(parents=True)
    onnx.save_model(
        foreign.dense(), path, save_as_external_data=True, location="data/weights.bin",
        size_threshold=0,
    )  # fmt: skip
    return path


def mlmodel(root, **flavours):
    (root / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours}))


def test_a_lone_file_becomes_a_bundle(tmp_path):
    foreign.write(foreign.dense(), tmp_path, "network.onnx")
    adopt(tmp_path, "dense")
    bundle = Bundle.open(tmp_path)
    manifest = bundle.manifest
    assert (manifest.name, manifest.task, list(manifest.files)) == ("dense", "other", [MODEL])
    (given,) = manifest.inputs
    assert (given.name, given.kind, given.datatype, given.shape) == (
        "x", Kind.TENSOR, Datatype.FP32, (4,),
    )  # fmt: skip
    assert manifest.outputs == (Output(name="y", datatype=Datatype.FP32, shape=(-1, 3)),)
    model = Model(bundle, "cpu")
    model.verify()
    assert model.examples()["x"].shape == (64, 4)
    np.testing.assert_allclose(model.run({"x": X})["y"], foreign.dense_answer(X), rtol=1e-6)


def test_external_data_stay_beside_the_model(tmp_path):
    external(tmp_path)
    bundle = adopt(tmp_path, "dense")
    assert set(bundle.manifest.files) == {MODEL, "data/weights.bin"}
    found = Model(Bundle.open(tmp_path), "cpu").run({"x": X})["y"]
    np.testing.assert_allclose(found, foreign.dense_answer(X), rtol=1e-6)
    (tmp_path / "data/weights.bin").write_bytes(b"damaged")
    with pytest.raises(InvalidData, match="differs from its hash"):
        Bundle.open(tmp_path)


def test_external_data_outside_are_refused(tmp_path):
    path = external(tmp_path / "version")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "version/data/weights.bin").rename(tmp_path / "weights.bin")
    with pytest.raises(InvalidData, match="cannot open"):
        adopt(tmp_path / "version", "dense")


def test_the_onnx_flavour_names_the_file(tmp_path):
    foreign.write(foreign.echo(("a", TensorProto.FLOAT, ["n"])), tmp_path, "other.onnx")
    external(tmp_path / "inner")
    mlmodel(tmp_path, onnx={"data": "inner/network.onnx"}, python_function={})
    bundle = adopt(tmp_path, "dense")
    assert bundle.manifest.inputs[0].name == "x"
    Model(bundle, "cpu").verify()


@pytest.mark.parametrize("rows", [None, 1, "n"])
def test_one_row_or_any(tmp_path, rows):
    foreign.write(foreign.dense(rows=rows), tmp_path)
    model = Model(adopt(tmp_path, "dense"), "cpu")
    model.verify()
    np.testing.assert_allclose(model.run({"x": X})["y"], foreign.dense_answer(X), rtol=1e-6)


def test_a_free_axis_is_given_a_size_that_runs(tmp_path):
    ports = [("x", TensorProto.FLOAT, ["n", "k"])], [("y", TensorProto.FLOAT, ["n", "k"])]
    nodes = [("Reshape", ["x", "shape"], ["z"]), ("Flatten", ["z"], ["y"])]
    shape = {"shape": np.array([-1, 7, 32])}
    foreign.write(foreign.graph(*ports, nodes, shape), tmp_path)
    model = Model(adopt(tmp_path, "sevens"), "cpu")
    model.verify()  # 32 and 1 are no multiples of 7 * 32
    assert model.examples()["x"].shape == (64, 224)


LOSS = foreign.graph(
    [("x", TensorProto.FLOAT, ["n", 4])],
    [("y", TensorProto.FLOAT, [])],
    [("ReduceMean", ["x"], ["y"], {"keepdims": 0})],
)
TURNED = foreign.graph(
    [("x", TensorProto.FLOAT, ["n", 4])],
    [("y", TensorProto.FLOAT, [4, "n"])],
    [("Transpose", ["x"], ["y"])],
)
LISTED = foreign.graph([("x", TensorProto.FLOAT, ["n"])], [], [("SequenceConstruct", ["x"], ["y"])])
LISTED.graph.output.append(
    onnx.helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])
)


@pytest.mark.parametrize(
    ("model", "said", "remedy"),
    [
        (foreign.dense(rows=8), "fixed at 8", "dynamic batch axis"),
        (foreign.echo(("x", TensorProto.FLOAT, [])), "no axis for the rows", "batch axis"),
        (foreign.echo(("x", TensorProto.COMPLEX64, ["n"])), "complex64", ""),
        (LOSS, "y has the shape [] for 1 rows", "the batch"),
        (TURNED, "y has the shape [4, 1] for 1 rows", "the batch"),
        (LISTED, "'y' is seq(tensor(float))", "tensors of numbers"),
        (foreign.dense(features="k"), "cannot run rows of zeros", "the batch"),
    ],
)
def test_what_cannot_be_batched_is_refused(tmp_path, model, said, remedy):
    foreign.write(model, tmp_path)
    with pytest.raises(InvalidData) as caught:
        Model(adopt(tmp_path, "odd"), "cpu").verify()
    assert said in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("flavours", "said"),
    [
        ({"sklearn": {}, "python_function": {}}, "python_function, sklearn"),
        ({"onnx": {"data": "../elsewhere.onnx"}}, "neither a bundle"),
        ({"onnx": {"data": "gone.onnx"}}, "neither a bundle"),
        ({"onnx": None}, "cannot be read"),
    ],
)
def test_versions_without_an_onnx_model_are_refused(tmp_path, flavours, said):
    foreign.write(foreign.dense(), tmp_path, "elsewhere.onnx")
    root = tmp_path / "version"
    root.mkdir()
    mlmodel(root, **flavours)
    with pytest.raises(InvalidData, match=said):
        adopt(root, "odd")


def test_several_files_are_no_model(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        foreign.write(foreign.dense(), tmp_path, name)
    with pytest.raises(InvalidData, match="neither a bundle"):
        adopt(tmp_path, "two")


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    (tmp_path / MODEL).write_bytes(b"no graph")
    with pytest.raises(InvalidData, match="cannot open"):
        adopt(tmp_path, "junk")
