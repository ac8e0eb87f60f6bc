import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from pellucid_pipelines.tensors import Target
from pellucid_pipelines.watching import watcher

CPU = torch.device("cpu")


def target_of(values, task="classification", positive=None):
    return Target.fit(pa.chunked_array([values]), "y", task, positive)


@pytest.mark.parametrize("positive", ["0", "1"])
def test_two_classes(positive):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 50)
    target = target_of([0, 1], positive=positive)
    raw = torch.from_numpy(generator.normal(size=(50, 1)))
    scores = watcher(target, truth, None, CPU)(raw)
    predicted = np.where(raw[:, 0] > 0, target.positive, 1 - target.positive)
    assert scores == pytest.approx(
        {
            "accuracy": accuracy_score(truth, predicted),
            "roc_auc": roc_auc_score(truth == target.positive, raw[:, 0]),
        }
    )


def test_a_score_that_is_not_defined_is_left_out():
    scores = watcher(target_of([0, 1]), np.zeros(4, int), None, CPU)(torch.randn(4, 1))
    assert set(scores) == {"accuracy"}


def test_regression_in_the_targets_units_with_weights():
    target = target_of([0.0, 20.0], "regression")  # mean 10, deviation 10
    watch = watcher(target, np.array([10.0, 0.0]), np.array([3.0, 1.0]), CPU)
    assert watch(torch.zeros(2, 1)) == pytest.approx({"rmse": 5.0})
