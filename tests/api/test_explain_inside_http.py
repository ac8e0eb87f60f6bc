"""Explanations over HTTP of several classes, images, sequences and texts."""

import base64

import numpy as np
import pyarrow as pa
import pytest

from pellucid.resources.explanations import ExplainedPredictions
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.explained_others import explained_other
from support.serving import serving

MODALITIES = ("tabular", "image", "sequence", "text")
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A service of a model of each kind, and their rows."""
    root = tmp_path_factory.mktemp("others")
    registry = MemoryTracker(root / "registry")
    tables = {}
    for modality in MODALITIES:
        _, tables[modality] = explained_other(root / modality, modality)
        registry.register(f"run-{modality}", modality, root / modality, {})
        registry.set_alias(modality, CHAMPION, 1)
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client, tables


def rows_of(table: pa.Table, count: int = 6):
    rows = table.slice(10, count).to_pylist()
    return [{name: _sent(value) for name, value in row.items()} for row in rows]


def _sent(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def ask(client, name, body, **params) -> ExplainedPredictions:
    response = client.post(f"/v1/models/{name}/explain", params=params, json=body)
    assert response.status_code == 200, response.text
    return ExplainedPredictions.model_validate_json(response.content)


def shap_of(row):
    return {each.column: each.shap for each in row.contributions}


def total(row):
    return row.base + sum(shap_of(row).values())


@pytest.mark.parametrize("name", MODALITIES)
def test_values_add_up_to_what_is_explained(others, name):
    client, tables = others
    found = ask(client, name, rows_of(tables[name]))
    assert found.hint is None
    for row in found.predictions:
        assert row.within_tolerance
        assert total(row) == pytest.approx(row.explained.value, abs=1e-4)


@pytest.mark.parametrize("name", ["tabular", "image"])
def test_of_several_classes_the_predicted_one_is_explained(others, name):
    client, tables = others
    rows = rows_of(tables[name])
    found = ask(client, name, rows).predictions
    assert len({row.label for row in found}) > 1, "else this shows nothing"
    each = {label: ask(client, name, rows, **{"class": label}).predictions for label in LABELS}
    for i, row in enumerate(found):
        assert row.explained.output == row.label
        assert row.explained.value == max(each[label][i].explained.value for label in LABELS)
        expected = each[row.label][i]
        assert shap_of(row) == pytest.approx(shap_of(expected), abs=1e-5)
        assert row.base == pytest.approx(expected.base, abs=1e-5)


LABELS = ("cat", "dog", "owl")


@pytest.mark.parametrize("name", ["tabular", "image"])
def test_a_contrast_is_the_logarithm_of_a_ratio(others, name):
    client, tables = others
    rows = rows_of(tables[name])
    found = ask(client, name, rows, contrast="dog").predictions
    for row in found:
        ratio = row.probabilities[row.label] / row.probabilities["dog"]
        assert row.explained.value == pytest.approx(np.log(ratio), abs=1e-4)
        assert total(row) == pytest.approx(row.explained.value, abs=1e-4)
    both = ask(client, name, rows, **{"class": "cat", "contrast": "dog"}).predictions
    for row in both:
        ratio = row.probabilities["cat"] / row.probabilities["dog"]
        assert row.explained.value == pytest.approx(np.log(ratio), abs=1e-4)


@pytest.mark.parametrize("name", MODALITIES)
def test_rows_are_compared_to_another_row(others, name):
    client, tables = others
    first, *rows = rows_of(tables[name])
    plain = {} if name == "sequence" else {"class": "cat"}
    if name == "text":
        plain = {"class": "yes"}
    (start,) = ask(client, name, [first], **plain).predictions
    found = ask(client, name, {"rows": [first, *rows], "reference": first}, **plain).predictions
    for row in found:
        assert row.base == pytest.approx(start.explained.value, abs=1e-5)
        assert total(row) == pytest.approx(row.explained.value, abs=1e-4)
    assert max(map(abs, shap_of(found[0]).values())) < 1e-6
    # Without a class, each row's own is explained, of the reference too.
    for row in ask(client, name, {"rows": rows, "reference": first}).predictions:
        assert total(row) == pytest.approx(row.explained.value, abs=1e-4)


def test_images_have_a_value_for_each_pixel_and_each_superpixel(others):
    client, tables = others
    rows = rows_of(tables["image"])
    found = ask(client, "image", rows, superpixels=6).predictions
    for row in found:
        pixels = np.array(row.pixels)
        assert pixels.shape == (10, 12)
        assert pixels.sum() == pytest.approx(shap_of(row)["photo"], abs=1e-3)
        segments = np.array(row.superpixels.segments)
        assert segments.shape == (10, 12)
        assert 1 < len(row.superpixels.shap) <= 6
        for number, value in enumerate(row.superpixels.shap):
            assert pixels[segments == number].sum() == pytest.approx(value, abs=1e-3)
    (row,) = ask(client, "image", rows[:1], places=False).predictions
    assert row.pixels is None
    assert row.superpixels is None
    reference = {"rows": rows[1:2], "reference": rows[0]}
    (row,) = ask(client, "image", reference).predictions
    assert np.sum(row.pixels) == pytest.approx(shap_of(row)["photo"], abs=1e-3)


def test_sequences_have_a_value_for_each_step_of_each_column(others):
    client, tables = others
    for row in ask(client, "sequence", rows_of(tables["sequence"])).predictions:
        assert list(row.steps) == ["load", "heat"]
        for name, values in row.steps.items():
            assert sum(values) == pytest.approx(shap_of(row)[name], abs=1e-4)
        assert row.explained.value == pytest.approx(row.value, rel=1e-4)


def test_texts_have_a_value_for_each_token_and_its_place(others):
    client, tables = others
    rows = [*rows_of(tables["text"]), {"review": None}, {"review": "Ünglaublich good, FILM!"}]
    found = ask(client, "text", rows).predictions
    for row, sent in zip(found, rows, strict=True):
        text = sent["review"] or ""
        assert row.contributions[0].value == sent["review"]
        assert all(text[each.start : each.end] == each.text for each in row.tokens)
        assert [each.start for each in row.tokens] == sorted(each.start for each in row.tokens)
    assert found[-2].tokens == []
    assert {each.text.strip().lower() for each in found[-1].tokens} >= {"good", "film"}
    columns = {"columns": {"review": [row["review"] for row in rows]}}
    assert ask(client, "text", columns).predictions == found
    table = pa.table({"review": [row["review"] for row in rows]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    response = client.post(
        "/v1/models/text/explain",
        content=sink.getvalue().to_pybytes(),
        headers={"content-type": ARROW},
    )
    assert ExplainedPredictions.model_validate_json(response.content).predictions == found
