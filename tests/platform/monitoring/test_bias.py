"""Bias in windows of the prediction log, as signals."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.bundle import Input, Manifest, Parity
from pellucid.monitoring.checks.bias import judge
from pellucid.schema import Kind

SEX = Input.of("sex", Kind.CATEGORICAL, ("f", "m"))
AGE = Input.of("age", Kind.NUMERIC).model_copy(update={"edges": (30.0, 60.0)})


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "credit",
        "task": "classification",
        "target": "risk",
        "classes": ("bad", "good"),
        "positive_class": "bad",
        "inputs": (Input.of("amount", Kind.NUMERIC),),
        "sensitive": (SEX, AGE),
        "outputs": (),
        "opset": 20,
        "files": {},
        "parity": Parity(rows=1, tolerance=1, max_error=0),
        "metrics": {},
        "data_version": "",
        "job_id": "",
        "created": "",
        "plan": {"evaluation": {"favourable": "good"}},
        "environment": {},
    }
    return Manifest(**(fields | changes))


def window(rows: int = 6_000, gap: float = 0.25, labels: bool = False, seed: int = 0) -> Any:
    """Rows of the log in which women are found good less often, by a gap in the scores."""
    random = np.random.default_rng(seed)
    female = random.random(rows) < 0.5
    score = np.clip(random.beta(4, 3, rows) - gap * female, 0, 1)
    label = np.where(score > 0.5, "good", "bad")
    probabilities = np.stack([1 - score, score], 1).astype(np.float32)
    ages = pa.array(random.integers(18, 80, rows).astype(float))
    sex = pa.array(np.where(female, "f", "m"), mask=random.random(rows) < 0.05)
    columns = {
        "outputs": pa.StructArray.from_arrays(
            [pa.array(label), pa.array(probabilities.tolist(), pa.list_(pa.float32()))],
            ["label", "probabilities"],
        ),
        "sensitive": pa.StructArray.from_arrays([sex, ages], ["sex", "age"]),
    }
    if labels:
        truth = np.where(random.random(rows) < score, "good", "bad")
        columns["label"] = pa.array(truth, mask=random.random(rows) < 0.3)
    return pa.RecordBatch.from_pydict(columns)


def by_subject(found: list[Signal]) -> dict[str, Signal]:
    return {each.subject: each for each in found}


def test_parity_needs_no_labels() -> None:
    signals, figures = judge([window()], manifest())
    found = by_subject(signals)
    assert set(found) == {
        f"demographic_parity by {column}" for column in ("sex", "age", "sex x age")
    }
    sex = found["demographic_parity by sex"]
    assert (sex.kind, sex.status, sex.statistic) == ("bias", Status.ALARM, "ratio")
    assert sex.low is not None
    assert sex.high is not None
    assert sex.current is not None
    assert sex.low < sex.current < sex.high < 0.8
    assert sex.effect == pytest.approx(1 - sex.current)
    assert sex.threshold == pytest.approx(0.2)
    assert "of f and" in sex.summary
    assert "at least 0.8 is asked for" in sex.summary
    assert found["demographic_parity by age"].status is Status.OK
    assert found["demographic_parity by sex x age"].status is Status.ALARM
    assert figures["outcomes"] == ["good"]
    assert (figures["rows"], figures["labelled"]) == (6_000, 0)
    women = next(r for r in figures["impact"] if (r["column"], r["category"]) == ("sex", "f"))
    assert women["impact"] == pytest.approx(sex.current)
    assert women["highest"] == "m"
    assert 0 < women["unknown"] < 600


def test_labels_tell_the_other_criteria() -> None:
    signals, figures = judge([window(labels=True)], manifest())
    found = by_subject(signals)
    assert len(found) == 18
    assert found["equalized_odds by sex"].status is Status.ALARM  # the scores say who is good
    assert found["calibration by sex"].status is Status.OK
    assert 3_900 < figures["labelled"] < 4_500
    metrics = {row["metric"] for row in figures["metrics"]}
    assert {"true_positive_rate", "calibration_error", "selection_rate"} <= metrics


def test_a_window_is_the_sum_of_its_parts() -> None:
    whole = window(labels=True)
    parts = [whole.slice(start, 700) for start in range(0, len(whole), 700)]
    first, figures = judge([whole], manifest())
    second, of_parts = judge(iter(parts), manifest())
    assert [each.status for each in first] == [each.status for each in second]
    assert of_parts["impact"] == figures["impact"]
    for mine, theirs in zip(of_parts["metrics"], figures["metrics"], strict=True):
        assert mine["value"] == pytest.approx(theirs["value"], abs=1e-12)


def test_the_outcome_is_the_favourable_class_or_the_positive_one_or_each() -> None:
    _, figures = judge([window(200)], manifest(plan={}))
    assert figures["outcomes"] == ["bad"]
    three = manifest(classes=("bad", "good", "odd"), positive_class=None, plan={})
    part = window(3_000)
    outputs = pa.StructArray.from_arrays([part["outputs"].field("label")], ["label"])
    alone = pa.RecordBatch.from_pydict({"outputs": outputs, "sensitive": part["sensitive"]})
    signals, figures = judge([alone], three)
    assert figures["outcomes"] == ["bad", "good", "odd"]
    found = by_subject(signals)
    assert found["demographic_parity by sex, good"].status is Status.ALARM
    assert found["demographic_parity by sex, odd"].status is Status.UNCLEAR  # nobody is
    numbered = pa.StructArray.from_arrays([pa.array([0, 1] * 50)], ["label"])
    rows = pa.RecordBatch.from_pydict({"outputs": numbered})
    _, figures = judge([rows], manifest(classes=(0, 1), positive_class=1, plan={}))
    assert (figures["rows"], figures["outcomes"]) == (100, ["1"])


def test_numbers_are_judged_by_their_means() -> None:
    random = np.random.default_rng(0)
    women = random.random(4_000) < 0.5
    value = 1e8 + 1_000 * random.normal(size=4_000) - 800 * women
    truth = [None if i % 3 else str(v) for i, v in enumerate(value.tolist())]
    outputs = pa.StructArray.from_arrays([pa.array(value)], ["value"])
    sex = pa.StructArray.from_arrays([pa.array(np.where(women, "f", "m"))], ["sex"])
    rows = pa.RecordBatch.from_pydict({"outputs": outputs, "sensitive": sex, "label": truth})
    told = manifest(task="regression", classes=(), positive_class=None, sensitive=(SEX,), plan={})
    signals, figures = judge([rows.slice(0, 1_000), rows.slice(1_000)], told)
    found = by_subject(signals)
    assert found["mean_prediction_gap by sex"].status is Status.ALARM
    assert found["mean_prediction_gap by sex"].current == pytest.approx(800, abs=100)
    assert found["mean_error_gap by sex"].status is Status.OK
    assert figures["labelled"] == 1_334


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_few_rows_have_their_verdict(rows: int) -> None:
    signals, figures = judge([window(rows, labels=True)], manifest())
    assert all(each.status in (Status.UNCLEAR, Status.ABSENT) for each in signals)
    assert figures["rows"] == rows


def test_what_nobody_sends_cannot_be_compared() -> None:
    part = window(500)
    bare = pa.RecordBatch.from_pydict({"outputs": part["outputs"]})
    signals, _ = judge([bare], manifest())
    assert {each.status for each in signals} == {Status.ABSENT}
    assert "no row tells it" in signals[0].summary
    one = pa.StructArray.from_arrays([pa.array(["f"] * 500)], ["sex"])
    same = pa.RecordBatch.from_pydict({"outputs": part["outputs"], "sensitive": one})
    signals, _ = judge([same], manifest(sensitive=(SEX,)))
    assert [each.status for each in signals] == [Status.ABSENT]
    assert "all rows are of one group" in signals[0].summary


def test_a_version_that_records_none_has_no_signals() -> None:
    redacted = {"serving": {"log": {"redact": ["sex", "age"]}}}
    for told in (manifest(sensitive=()), manifest(plan=redacted), manifest(task="other")):
        assert judge([window(50)], told) == ([], {})


def test_rows_that_cannot_be_read_are_left_out() -> None:
    labels = pa.array(["good", "new", None, "bad"])
    shares = pa.array([[0.5, 0.5], [1, 0], None, [float("nan"), 1]], pa.list_(pa.float32()))
    outputs = pa.StructArray.from_arrays([labels, shares], ["label", "probabilities"])
    wrong = pa.StructArray.from_arrays([pa.array([1.0, 2, 3, 4])], ["sex"])
    rows = pa.RecordBatch.from_pydict({"outputs": outputs, "sensitive": wrong, "label": labels})
    signals, figures = judge([rows], manifest())
    assert figures["rows"] == 1
    assert all(each.status in (Status.UNCLEAR, Status.ABSENT) for each in signals)


def test_of_very_many_classes_one_has_to_be_named() -> None:
    many = tuple(f"c{i}" for i in range(13))
    (signal,), _ = judge([window(50)], manifest(classes=many, positive_class=None, plan={}))
    assert signal.status is Status.ABSENT
    assert "13 classes" in signal.summary
    named = manifest(classes=many, plan={"evaluation": {"favourable": "c3"}})
    assert judge([window(50)], named)[1]["outcomes"] == ["c3"]


def test_a_year_of_windows_without_a_gap_has_no_alarm() -> None:
    told = manifest(sensitive=(SEX,))
    for seed in (74, 397, 399):  # of 400 windows, those of which an audit by itself would alarm
        rows = window(200, gap=0.0, labels=True, seed=seed)
        signals, figures = judge([rows], told, windows_per_year=8_760)
        beyond = [each for each in signals if "in a year of windows chance does" in each.summary]
        assert [each.status for each in beyond] == [Status.UNCLEAR]
        assert not [each for each in signals if each.status is Status.ALARM]
        assert not [each for each in figures["criteria"] if each["status"] == "alarm"]
    (signal,), figures = judge([window()], manifest(sensitive=(SEX,)), windows_per_year=8_760)
    assert signal.status is Status.ALARM
    assert figures["criteria"][0]["status"] == "alarm"


def test_many_windows_and_many_groups_ask_for_no_more_than_numbers_can_say() -> None:
    signals, _ = judge([window()], manifest(), windows_per_year=1e9)
    assert by_subject(signals)["demographic_parity by sex"].status is Status.ALARM
    assert all(each.status is not Status.ABSENT for each in signals)
