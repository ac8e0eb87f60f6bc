"""explain.onnx against the attribution in PyTorch, and the bundle that holds it."""

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pellucid import bundle, plan
from pellucid_pipelines import architectures
from pellucid_pipelines.explain import bundle_explanation, explain
from pellucid_pipelines.explain.amortized import Student, errors, learn
from pellucid_pipelines.export import raw_inputs
from pellucid_pipelines.preprocessing import Tabular
from pellucid_pipelines.tensors import Target
from support.training import schema_of

COUNT = 90


def table():
    random = np.random.default_rng(0)
    purpose = random.choice(["car", "boat", "none"], COUNT).astype(object)
    purpose[3] = None
    return pa.table(
        {
            "value": random.normal(50, 9, COUNT),  # also an output's name
            "purpose": purpose,
            "shap": random.normal(size=COUNT),
        }
    )


def outcome(kind):
    random = np.random.default_rng(1)
    if kind == "regression":
        return pa.chunked_array([random.normal(1000, 250, COUNT)])
    return pa.chunked_array([random.choice(["a", "b", "c"][: 2 if kind == "two" else 3], COUNT)])


def packed(directory, kind="two", spec=None, explanation=None, student=False):
    rows = table()
    task = "regression" if kind == "regression" else "classification"
    preprocessing = Tabular.fit(rows, schema_of(rows, {}).columns, plan.Preprocessing())
    target = Target.fit(outcome(kind), "outcome", task, None)
    torch.manual_seed(0)
    dense = preprocessing(preprocessing.encode(rows))
    features = preprocessing.features.with_sample(dense)
    spec = spec or plan.Mlp(widths=(16, 8))
    network = architectures.build(spec, features, target.outputs, target.link)
    asked = plan.Explanation(**{"background": 20, "rows": 30, **(explanation or {})})
    background, weights = rows.slice(0, 20), np.linspace(1, 2, 20) / np.linspace(1, 2, 20).sum()
    found = explain(network, preprocessing, target, background, rows, asked, 0, weights)
    taught = None
    if student:
        module = learn(found.attribution, features, dense.double(), 0)
        taught = Student(module, errors(module, found.attribution, features, dense.double()))
    described = bundle_explanation(
        found, preprocessing, target, background, weights, directory, taught
    )
    feed = raw_inputs(found.rows, preprocessing.inputs)
    return found, described, feed


def run(path, feed):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, session.run(None, feed)


@pytest.mark.parametrize("kind", ["two", "three", "regression"])
def test_the_graph_gives_what_torch_gives(tmp_path, kind):
    found, described, feed = packed(tmp_path, kind)
    session, outputs = run(tmp_path / bundle.EXPLAINER, feed)
    explained, shap, base, gap = outputs[-4:]
    size = np.abs(found.values).max()
    np.testing.assert_allclose(shap, found.values, rtol=1e-5, atol=2e-6 * size)
    np.testing.assert_allclose(explained, found.prediction, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(base[0], found.base, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gap, np.abs(base + shap.sum(1) - explained), atol=1e-3 * size)
    assert (gap <= described.tolerance * np.array(described.scale)).all()
    assert described.method == "deep"
    assert described.outputs == found.outputs
    names = [each.name for each in session.get_outputs()]
    assert names[-4:] == ["explained", "shap_", "base", "gap"]
    head = ["value_"] if kind == "regression" else ["label", "probabilities"]
    assert names[:-4] == head


def test_no_rows(tmp_path):
    _, _, feed = packed(tmp_path)
    _, outputs = run(tmp_path / bundle.EXPLAINER, {k: v[:0] for k, v in feed.items()})
    assert [each.shape for each in outputs[-4:]] == [(0, 1), (0, 3, 1), (0, 1), (0, 1)]


def test_the_background_lies_beside_it(tmp_path):
    packed(tmp_path)
    background = pq.read_table(tmp_path / bundle.BACKGROUND)
    assert background.column_names == ["value", "purpose", "shap", "weight"]
    assert background.drop_columns("weight") == table().slice(0, 20)
    assert sum(background["weight"].to_pylist()) == pytest.approx(1)


def test_gradients_take_more_shares(tmp_path):
    """What has no rescale rule is explained by gradients, whose error more shares bring down."""
    spec = plan.Mlp(widths=(16, 16), norm="layer")
    found, described, feed = packed(tmp_path, "three", spec)
    assert (described.method, described.tolerance) == ("gradients", 8e-3)
    assert described.steps >= 1
    path = tmp_path / bundle.EXPLAINER
    few = (np.arange(1, dtype=np.float32) + 0.5) / 1
    many = (np.arange(256, dtype=np.float32) + 0.5) / 256
    _, coarse = run(path, {**feed, "explain/shares": few})
    _, fine = run(path, {**feed, "explain/shares": many})
    assert fine[-1].mean() < 0.3 * coarse[-1].mean()
    np.testing.assert_allclose(fine[-3], found.values, atol=0.05 * np.abs(found.values).max())


def test_a_student_gives_values_that_add_up(tmp_path):
    found, described, feed = packed(tmp_path, "three", student=True)
    assert described.amortized is not None
    assert described.amortized["r2"] > 0.9
    _, outputs = run(tmp_path / bundle.AMORTIZED, feed)
    explained, shap, base, gap = outputs[-4:]
    assert gap.max() < 1e-5
    np.testing.assert_allclose(base + shap.sum(axis=1), explained, atol=1e-5)
    assert np.corrcoef(shap.ravel(), found.values.ravel())[0, 1] > 0.9
