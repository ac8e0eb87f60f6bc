"""Explanations inside images, sequences and texts: they add up, are written and drawn."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pellucid import plan
from pellucid.errors import InvalidPlan
from pellucid.schema import Column, Role, Schema, StorageType
from pellucid_pipelines import architectures
from pellucid_pipelines.explain import Explained, explain, write_table
from pellucid_pipelines.places_figures import places_figures
from support.inputs import Example, example

NETWORKS = {
    "image": plan.Hybrid(channels=4, width=8),
    "sequence": plan.Gru(width=8),
    "text": plan.BagOfWords(width=8, buckets=64),
}
FIGURES = {"image": "shap_images.png", "sequence": "shap_steps.png", "text": "shap_texts.png"}


def explained(given: Example, modality: str) -> Explained:
    torch.manual_seed(0)
    target = given.target
    network = architectures.build(NETWORKS[modality], given.features, target.outputs, target.link)
    spec = plan.Explanation(rows=9, background=12)
    return explain(network, given.preprocessing, target, given.table, given.table, spec, 0)


@pytest.mark.parametrize(
    ("modality", "task"),
    [
        ("image", "multiclass"),
        ("sequence", "multiclass"),
        ("sequence", "regression"),
        ("text", "binary"),
    ],
)
def test_columns_and_places_add_up(modality: str, task: str, tmp_path):
    given = example(modality, task)
    found = explained(given, modality)
    assert found.method == "gradients"
    assert found.additivity_error < 0.1
    assert found.values.shape == (9, len(found.columns), len(found.outputs))
    total = found.base + found.values.sum(axis=1)
    error = found.additivity_error * abs(found.prediction - found.base).max()
    assert abs(total - found.prediction).max() <= 1.01 * error + 1e-6

    rows, shown = np.arange(9), found.places.outputs
    places = found.places.values.reshape(9, -1).sum(axis=1)
    np.testing.assert_allclose(places, found.values.sum(axis=1)[rows, shown], rtol=1e-5, atol=1e-8)
    if task == "multiclass":
        np.testing.assert_array_equal(shown, found.prediction.argmax(axis=1))

    path = tmp_path / "explanations.parquet"
    write_table(found, path)
    written = pq.read_table(path)
    assert len(written) == 9 * len(found.outputs)
    lists = [each for each in written[f"places_{found.columns[0]}"].to_pylist() if each is not None]
    assert len(lists) == 9
    places_figures(found, tmp_path)
    assert (tmp_path / FIGURES[modality]).stat().st_size > 5000


def test_pieces_are_the_words_of_a_text():
    found = explained(example("text", "binary"), "text")
    texts = found.rows[found.columns[0]].to_pylist()
    for text, pieces in zip(texts, found.places.pieces, strict=True):
        assert "".join(pieces).replace(" ", "") in text.replace(" ", "")


def test_methods_of_tabular_data_are_refused_before_anything_is_trained():
    target = Column(name="which", type=StorageType.STRING, role=Role.TARGET)

    def path(kind: StorageType, **parts: object) -> object:
        schema = Schema(columns=(Column(name="given", type=kind), target))
        given = plan.Plan.parse({"name": "n", "data": {"dataset": "d"}} | parts)
        with pytest.raises(InvalidPlan, match=r"tabular") as caught:
            plan.resolve(given, schema)
        return caught.value.where["path"]

    deep = {"method": "deep"}
    assert path(StorageType.BINARY, explanation=deep) == "explanation.method"
    assert path(StorageType.FLOAT64, augmentation={"flip": True}) == "augmentation.flip"


def test_tabular_data_takes_gradients_too():
    given = example("tabular", "multiclass")
    network = architectures.build(plan.Mlp(widths=(8,)), given.features, given.target.outputs)
    found = explain(
        network,
        given.preprocessing,
        given.target,
        given.table,
        given.table,
        plan.Explanation(rows=9, background=20, method="gradients"),
        0,
    )
    assert found.places is None
    assert found.additivity_error < 0.1
