"""Shapley values by permutations: shap plays a game whose values are known exactly."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.analysis import games
from pellucid.bundle import EXPLAINER
from pellucid.errors import InvalidData
from pellucid_api.permutations import Background, Scores, _part, shapley_values
from support import attributed
from support.serving import expected_score

COLUMNS = 4


def a_background(rows: int, seed: int) -> Background:
    """Numbers, strings, and small arrays, which do not count alike."""
    random = np.random.default_rng(seed)
    feed = {
        "x": random.normal(size=rows),
        "y": random.normal(size=rows),
        "word": random.choice(["a", "b", ""], rows).astype(object),
        "image": random.integers(0, 9, (rows, 2, 3), np.uint8),
    }
    weights = random.uniform(0.1, 1, rows)
    return Background(feed, weights / weights.sum())


def scores(feed: dict[str, Any]) -> Any:
    """(rows, 2): no more than two columns interact."""
    known = np.array([{"a": 1.0, "b": -2.0}.get(each, 0.0) for each in feed["word"]])
    bright = feed["image"].sum(axis=(1, 2)) / 10
    first = feed["x"] * feed["y"] + known * bright
    return np.stack([first, feed["y"] ** 2 - 3 * known], axis=1)


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_one_permutation_is_exact_where_two_columns_interact(rows: int, seed: int) -> None:
    background = a_background(rows, seed)
    row = a_background(1, seed + 1).feed
    worth = background.worth(scores, row)
    found = shapley_values(worth, COLUMNS, 1, seed)
    exact = [
        games.shapley_values(lambda masks, i=i: worth(masks)[:, i], COLUMNS)  # type: ignore[misc]
        for i in range(2)
    ]
    np.testing.assert_allclose(found, np.stack(exact, axis=1), rtol=1e-9, atol=1e-9)
    base = background.weights @ scores(background.feed)
    np.testing.assert_allclose(base + found.sum(axis=0), scores(row)[0], rtol=1e-9, atol=1e-9)


def test_many_sets_are_run_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    background, row = a_background(5, 0), a_background(1, 1).feed
    masks = np.random.default_rng(2).random((30, COLUMNS)) < 0.5
    whole = background.worth(scores, row)(masks)
    most = 11
    monkeypatch.setattr("pellucid_api.permutations._ROWS", most)

    def run(feed: dict[str, Any]) -> Any:
        assert len(feed["x"]) <= most
        return scores(feed)

    np.testing.assert_allclose(background.worth(run, row)(masks), whole)


def test_the_number_that_is_explained_without_the_explanation(tmp_path: Path) -> None:
    """Of the graph only what leads to it is left."""
    bundle = attributed.make_attributed_bundle(tmp_path, bias=0.5, fault=1.0, steps=True)
    _, feed, _ = attributed.background()
    found = Scores(bundle.root / EXPLAINER, len(bundle.manifest.outputs))
    np.testing.assert_allclose(found.run(feed)[:, 0], expected_score(feed, 0.5), rtol=0, atol=1e-5)
    part = onnx.load_from_string(_part(bundle.root / EXPLAINER, len(bundle.manifest.outputs)))
    made = {name for node in part.graph.node for name in node.output}
    assert "score_column" in made
    assert not {"terms", "values", "gap", "label"} & made


def test_the_background_of_a_bundle(tmp_path: Path) -> None:
    bundle = attributed.make_attributed_bundle(tmp_path)
    _, feed, weights = attributed.background()
    found = Background.of(bundle, None)
    np.testing.assert_allclose(found.weights, weights)
    np.testing.assert_array_equal(found.feed["age"], feed["age"])
    assert found.feed["purpose"].tolist() == feed["purpose"].tolist()
    (tmp_path / "background.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidData, match="background rows cannot be read"):
        Background.of(bundle, None)
