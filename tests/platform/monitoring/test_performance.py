"""Performance of a window: what was measured and estimated, and what is said of it."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from pellucid.analysis.intervals import Interval
from pellucid.analysis.scores import SCORES, Outcomes
from pellucid.analysis.watching.performance import Found, Minimums, measure, verdict
from pellucid.analysis.watching.signals import Signal, Status
from pellucid.bundle import Manifest, Parity
from pellucid.errors import InvalidData
from pellucid.monitoring.checks import performance, sampling
from pellucid.monitoring.feedback.labelled import labelled
from pellucid.monitoring.feedback.truths import Truth
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window
from support.feedback import (
    CLASSES,
    INPUTS,
    MOMENT,
    OUTPUTS,
    VALUE,
    Desk,
    classified,
    predict,
)

WINDOW = Window("credit", 1, MOMENT - timedelta(hours=1), MOMENT + timedelta(hours=3))
HELD = MOMENT + timedelta(minutes=1)  # ids of its own
HELD_OUT = {"accuracy": 0.8, "roc_auc": 0.85, "recall": 0.8, "log_loss": 0.45, "ece": 0.02}


def manifest(task: str = "classification", metrics_: dict[str, float] | None = None) -> Manifest:
    classifies = task == "classification"
    return Manifest(
        name="credit",
        task=task,
        target="bad",
        classes=CLASSES if classifies else (),
        positive_class="good" if classifies else None,
        inputs=INPUTS,
        outputs=OUTPUTS if classifies else VALUE,
        opset=17,
        files={},
        parity=Parity(rows=1, tolerance=1e-5, max_error=0.0),
        metrics=metrics_ or (HELD_OUT if classifies else {"mae": 1.0, "rmse": 1.3, "r2": 0.9}),
        data_version="d",
        job_id="j",
        created="2026-01-01T00:00:00+00:00",
        plan={},
        environment={},
    )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.writer.close()


def parts(desk: Desk, window: Window = WINDOW) -> Iterator[pa.RecordBatch]:
    return labelled(PredictionLog(desk.log), desk.labels, window, performance.COLUMNS)


def judge(desk: Desk, told: Manifest | None = None, held_out: Path | None = None) -> Any:
    logged = PredictionLog(desk.log).parts(
        WINDOW.model, WINDOW.start, WINDOW.end, version=WINDOW.version, columns=sampling.COLUMNS
    )
    told = told or manifest()
    sample = sampling.sampled(logged, told.inputs)
    return performance.judge(parts(desk), told, None, held_out, sample)


def by_subject(signals: Sequence[Signal], kind: str = "performance") -> dict[str, Signal]:
    return {each.subject: each for each in signals if each.kind == kind}


def drawn(chance: np.ndarray, seed: int = 0) -> list[str]:
    happened = np.random.default_rng(seed).random(len(chance)) < chance
    return [CLASSES[int(each)] for each in happened]


CHANCE = np.random.default_rng(5).beta(0.8, 0.8, 3000)


def test_every_prediction_comes_once_with_the_label_that_counts(desk: Desk) -> None:
    before = time.time()
    words = predict(desk.log, classified(CHANCE[:400]), seconds=7200)
    desk.take(words[:100], ["bad"] * 100)
    desk.take(words[50:200], ["good"] * 150)
    other = predict(desk.log, classified([0.5]), version=2, moment=MOMENT + timedelta(seconds=1))
    desk.take(other, ["good"])
    for sealed in (False, True):
        if sealed:
            desk.writer.close()
        batches = list(parts(desk))
        found = {
            row["id"]: row
            for batch in batches
            for row in batch.select(["id", "time", "label", "delay"]).to_pylist()
        }
        assert sum(map(len, batches)) == len(found) == 400
        rows = [found[each.to_bytes(16)] for each in _numbers(words)]
        labels = [row["label"] for row in rows]
        assert labels == ["bad"] * 50 + ["good"] * 150 + [None] * 200
        for row in rows[:200]:
            told = (row["time"] + row["delay"]).timestamp()
            assert before - 1 < told < time.time() + 1
        assert all(row["delay"] is None for row in rows[200:])


def _numbers(words: np.ndarray) -> list[int]:
    return [int(high) << 64 | int(low) for high, low in words]


def test_measured_scores_are_those_of_scikit_learn(desk: Desk) -> None:
    words = predict(desk.log, classified(CHANCE))
    labels = drawn(CHANCE)
    desk.take(words, labels)
    _, figures = judge(desk)
    truth = np.array([CLASSES.index(each) for each in labels])
    said = (CHANCE.astype(np.float32) > 0.5).astype(int)
    expected = {
        "accuracy": metrics.accuracy_score(truth, said),
        "recall": metrics.recall_score(truth, said),
        "roc_auc": metrics.roc_auc_score(truth, CHANCE),
        "log_loss": metrics.log_loss(truth, CHANCE.astype(np.float32).astype(float)),
    }
    for name, value in expected.items():
        found = figures.measured[name]
        assert found.value == pytest.approx(value, abs=1e-6)
        assert found.low < found.value < found.high
        assert found.reference == HELD_OUT[name]
    assert figures.confusion == metrics.confusion_matrix(truth, said).tolist()
    assert figures.classes == CLASSES
    assert (figures.predictions, figures.labelled, figures.share) == (3000, 3000, 1.0)
    assert figures.as_dict()["measured"]["accuracy"]["value"] == figures.measured["accuracy"].value


def test_the_model_label_counts_and_not_the_largest_probability(desk: Desk) -> None:
    outputs = classified(np.full(200, 0.4)) | {"label": np.array(["good"] * 200, object)}
    words = predict(desk.log, outputs)
    desk.take(words, ["good"] * 150 + ["bad"] * 50)
    _, figures = judge(desk)
    assert figures.measured["accuracy"].value == 0.75


def test_a_drop_that_is_certain_and_large_alarms(desk: Desk) -> None:
    words = predict(desk.log, classified(CHANCE))
    desk.take(words, drawn(1 - CHANCE))
    signals, _ = judge(desk)
    found = by_subject(signals)
    assert set(found) == {"accuracy", "roc_auc", "recall", "log_loss"}
    assert {each.status for each in found.values()} == {Status.ALARM}
    accuracy = found["accuracy"]
    assert accuracy.reference == 0.8
    assert accuracy.threshold == 0.03
    assert accuracy.effect == pytest.approx(0.8 - accuracy.current)
    assert accuracy.p_value < 1e-6
    assert "worse by" in accuracy.summary
    assert found["log_loss"].threshold == pytest.approx(0.045)


def test_what_is_as_before_is_ok_and_what_is_better_too(desk: Desk) -> None:
    words = predict(desk.log, classified(CHANCE))
    desk.take(words, [CLASSES[int(each > 0.5)] for each in CHANCE])
    found = by_subject(judge(desk)[0])
    assert {each.status for each in found.values()} == {Status.OK}


def test_few_labels_none_and_no_rows_are_verdicts(desk: Desk) -> None:
    assert judge(desk) == ([], performance.PerformanceFigures())
    words = predict(desk.log, classified(CHANCE[:300]))
    (signal,), figures = judge(desk)
    assert (signal.subject, signal.status) == ("labels", Status.ABSENT)
    assert "300 predictions" in signal.summary
    desk.take(words[:30], ["good"] * 30)
    (signal,), figures = judge(desk)
    assert (signal.subject, signal.status) == ("labels", Status.UNCLEAR)
    assert (figures.labelled, figures.share) == (30, 0.1)
    assert figures.delay_median == pytest.approx(figures.delay_p90, rel=0.01)
    assert figures.measured["accuracy"].value is not None
    assert figures.measured["roc_auc"].value is None
    desk.take(words[30:], ["bad"] * 270)
    found = by_subject(judge(desk)[0])
    assert found["recall"].status in (Status.UNCLEAR, Status.ALARM)


def test_a_single_class_leaves_out_what_it_does_not_define(desk: Desk) -> None:
    words = predict(desk.log, classified(CHANCE[:500]))
    desk.take(words, ["bad"] * 500)
    found = by_subject(judge(desk)[0])
    assert found["roc_auc"].status is Status.ABSENT
    assert found["recall"].status is Status.ABSENT
    assert found["accuracy"].status is Status.ALARM


def test_pending_labels_that_are_none_of_the_models_are_left_out(desk: Desk) -> None:
    words = predict(desk.log, classified(CHANCE[:200]))
    for path in desk.log.rglob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    assert desk.take(words, ["good"] * 150 + ["nonsense"] * 50).pending == 200
    for path in desk.log.rglob("*.away"):
        path.rename(path.with_suffix(".parquet"))
    _, figures = judge(desk)
    assert (figures.labelled, figures.unusable, figures.measured_on) == (200, 50, 150)


def test_more_rows_than_are_kept_are_a_fair_sample(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance, "_MEASURED_ROWS", 1000)
    words = predict(desk.log, classified(CHANCE))
    desk.take(words, drawn(CHANCE))
    _, figures = judge(desk)
    assert figures.labelled == 3000
    assert 300 < figures.measured_on <= 1000
    assert figures.measured["accuracy"].value == pytest.approx(
        float(np.maximum(CHANCE, 1 - CHANCE).mean()), abs=0.06
    )


def test_regression_is_measured_by_its_errors(tmp_path: Path) -> None:
    desk = Desk(tmp_path, lambda *_: Truth("regression"))
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 4, 800)
    value = (truth + rng.normal(0, 2.5, 800)).astype(np.float32)
    words = predict(desk.log, {"value": value})
    assert desk.take(words, [repr(each) for each in truth.tolist()]).accepted == 800
    signals, figures = judge(desk, manifest("regression"))
    assert figures.measured["mae"].value == pytest.approx(
        metrics.mean_absolute_error(truth, value), rel=1e-6
    )
    assert figures.measured["r2"].value == pytest.approx(metrics.r2_score(truth, value), rel=1e-6)
    assert {each.status for each in signals} == {Status.ALARM}
    desk.writer.close()


def test_a_model_made_elsewhere_is_not_judged(desk: Desk) -> None:
    predict(desk.log, classified(CHANCE[:10]))
    (signal,), _ = judge(desk, manifest().model_copy(update={"task": "other"}))
    assert signal.status is Status.ABSENT


def a_sample(path: Path, log: Path, words: np.ndarray, target: Sequence[Any]) -> Path:
    """Rows of the log as a bundle's sample has them."""
    reader = PredictionLog(log).parts("held", WINDOW.start, WINDOW.end)
    table = pa.Table.from_batches(list(reader)).select(["inputs", "outputs"])
    assert len(table) == len(words)
    pq.write_table(table.append_column("target", pa.array(target)), path)
    return path


def covariates(amount: np.ndarray) -> dict[str, Any]:
    """A model that is calibrated whatever comes: its chance is a function of the amount alone."""
    chance = 1 / (1 + np.exp(-1.3 * amount))
    purpose = np.array(["car", "boat"], object)[(amount > 0).astype(int)]
    return {"outputs": classified(chance), "inputs": {"amount": amount, "purpose": purpose}}


def test_performance_is_estimated_before_labels_and_concept_drift_is_not_seen(
    desk: Desk, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    held, live = rng.normal(0, 1.5, 1500), rng.normal(0.2, 0.5, 4000)
    rows = covariates(held)
    words = predict(desk.log, rows["outputs"], inputs=rows["inputs"], model="held", moment=HELD)
    chance = rows["outputs"]["probabilities"][:, 1]
    sample = a_sample(tmp_path / "sample.parquet", desk.log, words, drawn(chance))
    rows = covariates(live)
    words = predict(desk.log, rows["outputs"], inputs=rows["inputs"])
    chance = rows["outputs"]["probabilities"][:, 1]
    signals, figures = judge(desk, manifest(), sample)
    found = by_subject(signals, "estimate")
    assert {"accuracy", "roc_auc", "log_loss"} <= set(found)
    assert all("concept drift" in each.summary for each in found.values())
    expected = float(np.maximum(chance, 1 - chance).mean())
    assert figures.estimated["accuracy"].value == pytest.approx(expected, abs=0.015)
    assert found["accuracy"].status is Status.ALARM
    assert figures.method == "cbpe"
    assert by_subject(signals)["labels"].status is Status.ABSENT
    desk.take(words, drawn(1 - chance))  # inputs now mean the opposite
    again, after = judge(desk, manifest(), sample)
    assert after.estimated == figures.estimated
    assert after.measured["accuracy"].value < 0.5
    assert by_subject(again)["accuracy"].status is Status.ALARM


def test_odd_windows_are_judged_all_the_same(desk: Desk, tmp_path: Path) -> None:
    """A column that is missing everywhere, one of another type, one that is new; a single row."""
    rows = covariates(np.random.default_rng(0).normal(size=300))
    words = predict(desk.log, rows["outputs"], inputs=rows["inputs"], model="held", moment=HELD)
    chance = rows["outputs"]["probabilities"][:, 1]
    sample = a_sample(tmp_path / "sample.parquet", desk.log, words, drawn(chance))
    inputs = {"amount": np.full(300, np.nan), "purpose": np.array([""] * 300, object)}
    words = predict(desk.log, rows["outputs"], inputs=inputs)
    signals, figures = judge(desk, manifest(), sample)
    assert figures.estimated_on == 300
    assert by_subject(signals, "estimate")
    desk.take(words[:1], ["good"])
    _, figures = judge(desk, manifest(), sample)
    assert (figures.labelled, figures.measured_on) == (1, 1)
    one = Window("credit", 1, WINDOW.start, MOMENT + timedelta(milliseconds=1))
    single = pa.concat_batches([next(parts(desk, one)).slice(0, 1)])
    signals, figures = performance.judge([single], manifest(), None, sample, [single])
    assert figures.predictions == 1
    assert {each.status for each in signals} <= {Status.UNCLEAR, Status.ABSENT}
    signals, figures = performance.judge([single.drop_columns(["outputs"])], manifest())
    assert {each.status for each in signals} == {Status.ABSENT}
    assert figures.measured == {}


def test_too_small_a_sample_or_window_gives_no_estimate(desk: Desk, tmp_path: Path) -> None:
    rows = covariates(np.linspace(-1, 1, 50))
    words = predict(desk.log, rows["outputs"], inputs=rows["inputs"], model="held", moment=HELD)
    sample = a_sample(tmp_path / "sample.parquet", desk.log, words, ["good", "bad"] * 25)
    predict(desk.log, classified(CHANCE))
    signals, figures = judge(desk, manifest(), sample)
    assert not by_subject(signals, "estimate")
    assert figures.estimated == {}
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidData, match="sample cannot be read"):
        judge(desk, manifest(), tmp_path / "broken.parquet")


def test_errors_of_a_regression_are_estimated(tmp_path: Path) -> None:
    desk = Desk(tmp_path, lambda *_: Truth("regression"))
    rng = np.random.default_rng(1)

    def made(amount: np.ndarray) -> dict[str, Any]:
        value = amount.astype(np.float32)
        return {"outputs": {"value": value}, "inputs": {"amount": amount, "purpose": _cars(amount)}}

    held, live = rng.uniform(0, 4, 1500), rng.uniform(2, 4, 3000)
    words = predict(
        desk.log, made(held)["outputs"], inputs=made(held)["inputs"], model="held", moment=HELD
    )
    target = (held + rng.normal(0, 1, 1500) * held).tolist()  # the error grows with the amount
    sample = a_sample(tmp_path / "sample.parquet", desk.log, words, target)
    predict(desk.log, made(live)["outputs"], inputs=made(live)["inputs"])
    reference = float(np.abs(np.array(target) - held).mean())
    told = manifest("regression", {"mae": reference, "rmse": 2.0, "r2": 0.5})
    signals, figures = judge(desk, told, sample)
    expected = float(np.sqrt(2 / np.pi) * live.mean())
    assert figures.method == "dle"
    assert figures.estimated["mae"].value == pytest.approx(expected, rel=0.08)
    assert figures.estimated["mae"].low < expected < figures.estimated["mae"].high
    assert by_subject(signals, "estimate")["mae"].status is Status.ALARM


def _cars(amount: np.ndarray) -> np.ndarray:
    return np.array(["car"] * len(amount), object)


def test_windows_in_which_nothing_changes_do_not_alarm() -> None:
    """Three scores on 300 windows of 150 labels: the level leaves no room for an alarm."""
    rng = np.random.default_rng(0)
    names = ("accuracy", "recall", "precision")
    scores = [SCORES[name] for name in names]

    def outcomes(rows: int) -> Outcomes:
        chance = rng.beta(0.8, 0.8, rows)
        return Outcomes((rng.random(rows) < chance).astype(int), np.stack((1 - chance, chance), 1))

    large = outcomes(400_000)
    held_out = {score.name: float(score.weighted(large, np.ones(len(large)))) for score in scores}
    statuses = []
    for _ in range(300):
        for name, interval in measure(scores, outcomes(150)).items():
            reference = Interval(held_out[name], np.nan, np.nan)
            found = Found("performance", SCORES[name], interval, 150, reference, len(names))
            statuses.append(verdict(found, Minimums()).status)
    assert Status.ALARM not in statuses


@pytest.mark.parametrize(
    ("limits", "status", "said"),
    [
        ((0.6, 0.64), Status.ALARM, "worse by 0.16 at least, and 0.03 is what matters"),
        ((0.69, 0.76), Status.UNCLEAR, "worse by 0.04 at least, but in a year of windows chance"),
        ((0.73, 0.79), Status.UNCLEAR, "too few rows to tell whether it fell by 0.03"),
        ((0.78, 0.82), Status.OK, "no drop of 0.03"),
    ],
)
def test_a_verdict_says_why(limits: tuple[float, float], status: Status, said: str) -> None:
    interval = Interval(sum(limits) / 2, *limits)
    reference = Interval(0.8, 0.79, 0.81)
    found = Found("performance", SCORES["accuracy"], interval, 4_000, reference)
    signal = verdict(found, Minimums(windows_per_year=8_760))
    assert signal.status is status
    assert said in signal.summary
