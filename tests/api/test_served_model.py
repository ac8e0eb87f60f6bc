"""A bundle in ONNX Runtime: what it answers, how it is verified."""

import numpy as np
import pytest

from pellucid.bundle import MODEL, PARITY, TOKENIZER, Bundle
from pellucid.errors import InvalidData
from pellucid.raw import columns
from pellucid_api.engine.model import Model
from support.other_bundles import make_other_bundle
from support.serving import expected_score, make_bundle, parity_feed, probabilities


def test_outputs_equal_an_independent_computation(tmp_path):
    model = Model(make_bundle(tmp_path / "b", bias=0.03), "cpu")
    feed = parity_feed(1000)
    outputs = model.run(feed)
    expected = probabilities(feed, 0.03)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    assert outputs["label"].tolist() == [("bad", "good")[i] for i in expected.argmax(axis=1)]


def test_regression(tmp_path):
    model = Model(make_bundle(tmp_path / "b", task="regression", bias=500.0), "cpu")
    feed = parity_feed(10)
    np.testing.assert_allclose(model.run(feed)["value"], expected_score(feed, 500.0), rtol=1e-6)
    assert model.verify() < 1e-6


def test_a_sound_bundle_passes_verification(tmp_path):
    assert Model(make_bundle(tmp_path / "b"), "cpu").verify() < 1e-5


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_another_models_parity_rows_fail_verification(tmp_path, task):
    model = Model(make_bundle(tmp_path / "b", task=task, claimed_bias=0.1), "cpu")
    with pytest.raises(InvalidData, match="differs from PyTorch by"):
        model.verify()


def test_wrong_labels_fail_verification(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    _change_parity(bundle, lambda arrays: arrays | {"output:label": arrays["output:label"][::-1]})
    with pytest.raises(InvalidData, match="other labels"):
        Model(bundle, "cpu").verify()


def test_parity_rows_without_an_output_fail_verification(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    _change_parity(bundle, lambda a: {k: v for k, v in a.items() if k != "output:probabilities"})
    with pytest.raises(InvalidData, match="cannot be read"):
        Model(bundle, "cpu").verify()


def test_nan_fails_verification(tmp_path):
    bundle = make_bundle(tmp_path / "b", task="regression")
    _change_parity(bundle, lambda a: a | {"output:value": np.full(32, np.nan, np.float32)})
    with pytest.raises(InvalidData, match="differs"):
        Model(bundle, "cpu").verify()


def test_what_is_no_model_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    (bundle.root / MODEL).write_bytes(b"no model")
    with pytest.raises(InvalidData, match="cannot open the model"):
        Model(bundle, "cpu")


def test_a_damaged_bundle_is_refused_by_its_hashes(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    (bundle.root / MODEL).write_bytes(b"no model")
    with pytest.raises(InvalidData, match="differs from its hash"):
        Bundle.open(bundle.root)


def _change_parity(bundle, change):
    path = bundle.root / PARITY
    with np.load(path) as arrays:
        changed = change(dict(arrays))
    np.savez(path, **changed)


def test_a_text_model_without_its_tokenizer_is_refused(tmp_path):
    made = make_other_bundle(tmp_path / "b", "text")
    (made.bundle.root / TOKENIZER).unlink()
    with pytest.raises(InvalidData, match="no tokenizer"):
        Model(Bundle.seal(made.bundle.root, made.bundle.manifest), "cpu")


def test_many_rows_are_run_piece_by_piece(tmp_path, monkeypatch):
    model = Model(make_bundle(tmp_path / "b"), "cpu")
    feed = parity_feed(100)
    whole = model.run(feed)
    monkeypatch.setattr(columns, "_PIECE", 10)
    parts = model.run(feed)
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)
