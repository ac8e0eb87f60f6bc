"""Preprocessing of sequences and texts."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import plan
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.raw import columns
from pellucid.raw.sequences import pad
from pellucid_pipelines import preprocessing
from pellucid_pipelines.export import export_model, measure_parity
from pellucid_pipelines.tensors import Target
from support.training import schema_of

LISTS = pa.table(
    {
        "a": pa.array([[1.0, 2.0, 3.0], [None, 5.0], [], None], pa.list_(pa.float64())),
        "b": pa.array([[7.0, 7.0], [7.0, 7.0, None], [None], [7.0]], pa.list_(pa.float64())),
    }
)


def fitted(table, modality, **parts):
    spec = plan.Preprocessing.model_validate(parts)
    return preprocessing.fit(table, schema_of(table, {}).columns, spec, modality)


def test_lists_become_standardised_channels_and_a_mask():
    found = fitted(LISTS, "sequence")
    dense = found(found.encode(LISTS))
    assert found.features.shape == (3, 3)
    assert dense.dtype == torch.float32
    values = np.array([1, 2, 3, 5])
    scaled = (values - values.mean()) / values.std()
    np.testing.assert_allclose(dense[0, :, 0], scaled[:3], rtol=1e-6)
    np.testing.assert_allclose(dense[1, :, 0], [0, scaled[3], 0], rtol=1e-6)
    assert not dense[..., 1].any(), "a constant channel is 0"
    assert dense[..., 2].tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_scaling_can_be_left_out_and_steps_limited():
    found = fitted(LISTS, "sequence", sequence={"steps": 2, "scaling": "none"})
    assert found(found.encode(LISTS))[0].tolist() == [[2, 7, 1], [3, 7, 1]]


def test_serving_reads_the_same_tensors():
    found = fitted(LISTS, "sequence")
    encoded = found.encode(LISTS)
    for each in found.inputs:
        read = columns.read(LISTS[each.name].to_pylist(), each.kind, each.shape)
        np.testing.assert_array_equal(encoded[each.name].numpy(), read)


def test_sliced_chunked_and_large_lists_are_the_same():
    found = fitted(LISTS, "sequence")
    whole = found(found.encode(LISTS))
    parts = pa.concat_tables([LISTS.slice(0, 1), LISTS.slice(1, 3)])
    torch.testing.assert_close(found(found.encode(parts)), whole)
    torch.testing.assert_close(found(found.encode(LISTS.slice(1, 2))), whole[1:3])
    large = pa.table({name: LISTS[name].cast(pa.large_list(pa.float64())) for name in ("a", "b")})
    torch.testing.assert_close(found(found.encode(large)), whole)


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.floats(allow_nan=False), max_size=5), max_size=5))
def test_any_list_is_finite(lists):
    found = fitted(LISTS, "sequence")
    column = torch.from_numpy(pad(lists, 3))
    assert torch.isfinite(found({"a": column, "b": column})).all()


def test_a_column_of_numbers_is_no_sequence():
    with pytest.raises(InvalidPlan, match="not a sequence"):
        fitted(pa.table({"x": [1.0, 2.0]}), "sequence")


TEXTS = pa.table({"t": ["the lid is good", "the lid is not good", None, "", "the cord is bad"] * 4})


def test_texts_become_tokens_of_the_training_rows():
    found = fitted(TEXTS, "text", text={"vocabulary": 90})
    tokens = found(found.encode(TEXTS))
    assert tokens.dtype == torch.int64
    assert tokens.shape == (20, *found.features.shape)
    assert (tokens[:, -1] != 0).any(), "no longer than the longest text"
    assert not tokens[2:4].any()
    assert tokens.max() < found.features.vocabulary == found.tokenizer.vocabulary
    read = columns.read(TEXTS["t"].to_pylist(), "text", found.features.shape, found.tokenizer)
    np.testing.assert_array_equal(tokens, read)
    assert copy.deepcopy(found).tokenizer is found.tokenizer


def test_a_text_model_reads_one_column_that_holds_something():
    with pytest.raises(InvalidPlan, match="one column, not 2"):
        fitted(pa.table({"a": ["x"], "b": ["y"]}), "text")
    with pytest.raises(InvalidData, match="No training row has a text"):
        fitted(pa.table({"a": pa.array([None, ""], pa.string())}), "text")


@pytest.mark.parametrize(
    ("table", "modality", "model"),
    [
        (LISTS, "sequence", plan.Gru(width=4)),
        (TEXTS, "text", plan.BagOfWords(width=4, buckets=16)),
    ],
)
def test_a_forecast_of_the_exported_model_is_that_of_the_network(table, modality, model, tmp_path):
    from pellucid_pipelines import architectures

    found = fitted(table, modality)
    target = Target.fit(pa.chunked_array([[[1.0, 2.0], [3.0, 4.0]]]), "y", "regression", None)
    network = architectures.build(model, found.features, target.outputs).eval()
    export_model(network, found, target, tmp_path / "model.onnx")
    parity = measure_parity(network, found, target, table, tmp_path)
    assert parity.max_error <= 1e-5
    assert parity.rows > len(table)
