import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pellucid.resources.predictions import Prediction
from pellucid_api.engine.answers import PredictionIds, answers, prediction_ids
from support.serving import make_bundle


def take(ids, count):
    return prediction_ids(ids.reserve(count), count)


def test_ids_are_version_7_uuids_of_now(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
    (text,) = take(PredictionIds(), 1)
    found = uuid.UUID(text)
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == 1_700_000_000_123


def test_ids_ascend_within_and_across_requests_even_if_the_clock_steps_back(monkeypatch):
    ids = PredictionIds()
    taken = take(ids, 1000) + take(ids, 1000)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    taken += take(ids, 1000)
    assert taken == sorted(set(taken))


def test_ids_of_concurrent_requests_are_distinct():
    ids = PredictionIds()
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: take(ids, 500), range(40)))
    assert len({each for part in parts for each in part}) == 20_000


def test_answers_are_predictions(tmp_path):
    manifest = make_bundle(tmp_path / "a").manifest
    outputs = {
        "label": np.array(["good", "bad"], dtype=object),
        "probabilities": np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    }
    first, second = (Prediction(**a) for a in answers(manifest, outputs, ["x", "y"]))
    assert first == Prediction(id="x", label="good", probabilities={"bad": 0.25, "good": 0.75})
    assert second.label == "bad"


def test_a_regression_answers_with_values(tmp_path):
    manifest = make_bundle(tmp_path / "a", task="regression").manifest
    found = answers(manifest, {"value": np.array([1.5], np.float32)}, ["x"])
    assert [Prediction(**a) for a in found] == [Prediction(id="x", value=1.5)]


def test_every_row_has_an_id(tmp_path):
    manifest = make_bundle(tmp_path / "a", task="regression").manifest
    with pytest.raises(ValueError, match="zip"):
        answers(manifest, {"value": np.zeros(2, np.float32)}, ["x"])
