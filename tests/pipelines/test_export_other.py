"""Export of models of images, sequences and texts: arrays in, the same answers, all files there."""

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch

from pellucid import plan
from pellucid.bundle import MODEL, PARITY, TOKENIZER, WEIGHTS, Datatype
from pellucid.errors import InvalidData
from pellucid.raw.columns import tokenizer_in
from pellucid_pipelines.export import raw_inputs, run_onnx
from pellucid_pipelines.preprocessing import FITTERS
from support.other_bundles import ROWS, TABLES, Made, image_table, make_other_bundle
from support.training import schema_of

CASES = {
    "image": ("image", {}),
    "grey": ("image", {"shape": (9, 8, 1)}),
    "sequence": ("sequence", {}),
    "text": ("text", {}),
}


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    modality, options = CASES[request.param]
    return make_other_bundle(tmp_path_factory.mktemp("made") / "bundle", modality, **options)


def given(made: Made, table: pa.Table) -> np.ndarray:
    inputs = made.bundle.manifest.inputs
    raw = raw_inputs(table, inputs, tokenizer_in(made.bundle.root))
    outputs = run_onnx(made.bundle.model_path, raw)
    return outputs["value" if made.bundle.manifest.task == "regression" else "probabilities"]


def test_onnx_runtime_gives_what_pytorch_gives(made: Made) -> None:
    np.testing.assert_allclose(given(made, made.table), made.expected, rtol=1e-5, atol=1e-5)
    assert given(made, made.table.slice(0, 1)).shape[0] == 1


def test_any_number_of_rows(made: Made) -> None:
    assert len(given(made, made.table.slice(0, 0))) == 0
    many = pa.concat_tables([made.table] * 30)
    np.testing.assert_allclose(given(made, many)[-ROWS:], made.expected, rtol=1e-5, atol=1e-5)


def test_the_graph_takes_the_arrays_that_the_manifest_names(made: Made) -> None:
    graph = onnx.load(made.bundle.model_path).graph
    kinds = {"UINT8": "UINT8", "FP64": "DOUBLE", "INT64": "INT64"}
    for entry, described in zip(made.bundle.manifest.inputs, graph.input, strict=True):
        tensor = described.type.tensor_type
        assert described.name == entry.name
        assert onnx.TensorProto.DataType.Name(tensor.elem_type) == kinds[entry.datatype]
        assert [each.dim_param or each.dim_value for each in tensor.shape.dim] == [
            "rows", *entry.shape,
        ]  # fmt: skip


def test_parity_rows_hold_what_may_be_missing(made: Made) -> None:
    inputs = made.bundle.manifest.inputs
    with np.load(made.bundle.root / PARITY, allow_pickle=False) as arrays:
        for entry in inputs:
            values = arrays[f"input:{entry.name}"]
            assert values.shape == (made.bundle.manifest.parity.rows, *entry.shape)
            if entry.datatype is Datatype.FP64:
                assert np.isnan(values).all(axis=1).any()
            if entry.datatype is Datatype.INT64:
                assert (values == 0).all(axis=1).any()
    optional = [each for each in inputs if each.kind != "image"]
    assert made.bundle.manifest.parity.rows == ROWS + len(optional)


def test_what_serving_reads_is_what_training_reads(made: Made) -> None:
    modality = made.bundle.manifest.name
    columns = schema_of(made.table, {}).columns
    fitted = FITTERS[modality].fit(made.table, columns, plan.Preprocessing())
    raw = raw_inputs(made.table, made.bundle.manifest.inputs, tokenizer_in(made.bundle.root))
    for name, tensor in fitted.encode(made.table).items():
        np.testing.assert_array_equal(raw[name], tensor.numpy())


def test_the_weights_can_be_loaded_safely(made: Made) -> None:
    weights = torch.load(made.bundle.root / WEIGHTS, weights_only=True)
    assert "linear.weight" in weights
    assert {MODEL, PARITY, WEIGHTS} <= made.bundle.manifest.files.keys()
    assert (TOKENIZER in made.bundle.manifest.files) == (made.bundle.manifest.name == "text")


@pytest.mark.parametrize("modality", TABLES)
def test_the_bytes_are_the_same_every_time(tmp_path: Path, modality: plan.Modality) -> None:
    first = make_other_bundle(tmp_path / "a", modality).bundle.manifest.files
    second = make_other_bundle(tmp_path / "b", modality).bundle.manifest.files
    for name in (MODEL, WEIGHTS, TOKENIZER):
        assert first.get(name) == second.get(name)


def test_a_forecast_of_several_steps(tmp_path: Path) -> None:
    made = make_other_bundle(tmp_path / "bundle", "sequence", horizon=3)
    (output,) = made.bundle.manifest.outputs
    assert output.shape == (-1, 3)
    assert made.expected.shape == (ROWS, 3)
    np.testing.assert_allclose(given(made, made.table), made.expected, rtol=1e-5)
    graph = onnx.load(made.bundle.model_path).graph
    dims = graph.output[0].type.tensor_type.shape.dim
    assert [each.dim_param or each.dim_value for each in dims] == ["rows", 3]


def test_large_images_have_few_parity_rows(tmp_path: Path) -> None:
    made = make_other_bundle(tmp_path / "bundle", "image", shape=(128, 128, 3))
    with np.load(made.bundle.root / PARITY) as arrays:
        assert arrays["input:photo"].nbytes <= 2**22 or len(arrays["input:photo"]) == 16
    assert made.bundle.manifest.parity.rows >= 16


@pytest.mark.parametrize("cell", [None, b"no image"])
def test_a_missing_or_damaged_image_names_its_row(cell: bytes | None) -> None:
    table = image_table()
    cells = table["photo"].to_pylist()
    cells[7] = cell
    broken = pa.table({"photo": pa.array(cells, pa.large_binary())})
    columns = schema_of(table.select(["photo"]), {}).columns
    inputs = FITTERS["image"].fit(table, columns, plan.Preprocessing()).inputs
    with pytest.raises(InvalidData) as caught:
        raw_inputs(broken, inputs)
    assert caught.value.where["row"] == 8
