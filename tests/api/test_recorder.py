"""The recorder: everything that is answered is recorded, or counted as lost."""

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pellucid.bundle import Datatype, Input, Output
from pellucid.monitoring import ids
from pellucid.monitoring.log import Logged, PredictionLog
from pellucid.monitoring.writer import LogWriter, Retention
from pellucid.schema import Kind
from pellucid_api.engine.answers import PredictionIds, prediction_ids
from pellucid_api.engine.feeds import Layout
from pellucid_api.engine.sensitive import Sensitive
from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import Answered
from pellucid_api.recorder import LogRecorder
from support.serving import ROW

IDS = PredictionIds()
INPUTS = (
    Input.of("age", Kind.NUMERIC),
    Input.of("purpose", Kind.CATEGORICAL),
    Input(name="signal", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(-1,)),
    Input(name="half", kind=Kind.TENSOR, datatype=Datatype.BF16, shape=(2, 2)),
    Input(name="words", kind=Kind.TENSOR, datatype=Datatype.BYTES, shape=(1, 2)),
)
OUTPUTS = (
    Output(name="score", datatype=Datatype.FP64, shape=(-1,)),
    Output(name="map", datatype=Datatype.INT32, shape=(-1, 2, 2)),
)


def served(
    plan: dict[str, Any] | None = None, version: int = 1, sensitive: tuple[Input, ...] = ()
) -> Served:
    """As much of a version as the recorder looks at."""
    made = Served.__new__(Served)
    made.name, made.version, made._kept = "credit", version, {}
    manifest = SimpleNamespace(inputs=INPUTS, outputs=OUTPUTS, plan=plan or {}, sensitive=sensitive)
    bundle = SimpleNamespace(root=Path("without a profile"))
    made.model = cast("Any", SimpleNamespace(manifest=manifest, bundle=bundle))
    made.layout = Layout(INPUTS)
    made.sensitive = Sensitive(manifest)  # type: ignore[arg-type]
    return made


def answered(by: Served, rows: int = 1, length: int = 3) -> Answered:
    import ml_dtypes

    arrays = {
        "age": np.full(rows, 41.0),
        "purpose": np.array(["car"] * rows, object),
        "signal": np.ones((rows, length), np.float32),
        "half": np.full((rows, 2, 2), 1.5, ml_dtypes.bfloat16),
        "words": np.array([[["a", "ü"]]] * rows, object),
    }
    outputs = [np.arange(rows, dtype=float), np.full((rows, 2, 2), 7, np.int32)]
    feed = by.layout.pack(arrays)
    return Answered(by, feed, outputs, IDS.reserve(rows), 1_700_000_000_000_000_000, 0.25)


def found(root: Path, answer: Answered, row: int = 0) -> Logged | None:
    (identity,) = prediction_ids(answer.first + row, 1)
    return PredictionLog(root).find(ids.parse(identity))


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[LogRecorder]:
    made = LogRecorder(LogWriter(tmp_path, Retention()))
    made.start()
    yield made
    made.close()


def test_tensors_of_every_kind_come_back(recorder: LogRecorder, tmp_path: Path) -> None:
    version = served()
    answers = [answered(version, rows=3, length=length) for length in (3, 5, 0)]
    for answer in answers:
        recorder.record(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.lost, recorder.error) == (9, 0, "")
    for answer, length in zip(answers, (3, 5, 0), strict=True):
        row = found(tmp_path, answer, row=2)
        assert row is not None
        assert row.inputs["age"] == 41.0
        assert row.inputs["signal"] == [1.0] * length
        half = row.inputs["half"]
        assert (half["datatype"], half["shape"], len(half["data"])) == ("BF16", [2, 2], 8)
        assert row.inputs["words"]["data"] == ["a", "ü"]
        assert row.outputs["score"] == 2.0
        content = np.frombuffer(row.outputs["map"]["data"], np.int32).reshape(2, 2)
        assert np.array_equal(content, np.full((2, 2), 7))
        assert row.latency_ms == 250.0
        assert row.time.timestamp() == 1_700_000_000


def test_requests_with_sensitive_columns_are_joined_with_those_without(
    recorder: LogRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid_api.recorder._BATCH_ROWS", 7)
    sex, age = Input.of("sex", Kind.CATEGORICAL), Input.of("years", Kind.NUMERIC)
    version = served(sensitive=(sex, age))
    answers = []
    for rows in (1, 2, 3, 2, 4, 1):
        answer = answered(version, rows=rows)
        if rows % 2:
            arrays = {"sex": np.array([f"{rows}"] * rows, object)}
            answer = answer._replace(sensitive=version.sensitive.pack(arrays, rows))
        answers.append(answer)
        recorder.record(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.lost, recorder.error) == (13, 0, "")
    for answer in answers:
        row, rows = found(tmp_path, answer), answer.feed.rows
        assert row is not None
        assert row.sensitive == {"sex": str(rows) if rows % 2 else None, "years": None}


def test_rows_are_written_in_pieces_by_version(
    recorder: LogRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid_api.recorder._BATCH_ROWS", 7)
    versions = [served(version=1), served(version=2)]
    answers = [answered(versions[k % 2], rows=rows) for k, rows in enumerate([1, 3, 4, 9, 0, 1, 2])]
    for answer in answers:
        recorder.record(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.lost, recorder.error) == (20, 0, "")
    for answer in answers:
        for row in range(answer.feed.rows):
            written = found(tmp_path, answer, row)
            assert written is not None
            assert written.version == answer.served.version
            assert written.outputs["score"] == row


def test_a_full_queue_loses_rows_and_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = LogRecorder(LogWriter(tmp_path, Retention()), queue_bytes=20_000)
    version = served()
    for _ in range(100):  # nobody empties the queue yet
        recorder.record(answered(version, rows=2))
    waiting = recorder.waiting_bytes
    assert waiting <= 20_000
    assert 0 < recorder.lost < 200
    with caplog.at_level(logging.ERROR):
        recorder.start()
        recorder.flush()
    assert recorder.recorded + recorder.lost == 200
    assert recorder.waiting_bytes == 0
    assert len([record for record in caplog.records if "the queue" in record.message]) <= 1
    recorder.close()


def test_a_full_disk_is_counted_told_once_and_got_over(
    recorder: LogRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    version = served()
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(os, "write", full)
        for _ in range(5):
            recorder.record(answered(version, rows=2))
            recorder.flush()
        assert (recorder.recorded, recorder.lost) == (0, 10)
        assert "No space left on device" in recorder.error
    told = [each for each in caplog.records if each.name == "pellucid_api.recorder"]
    assert len(told) == 1
    answer = answered(version)
    recorder.record(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.lost, recorder.error) == (1, 10, "")
    assert found(tmp_path, answer) is not None


def test_a_version_that_cannot_be_recorded_spoils_no_other(
    recorder: LogRecorder, tmp_path: Path
) -> None:
    good, bad = served(), served({"serving": {"log": {"sample": "half"}}}, version=2)
    recorder.record(answered(bad, rows=3))
    answer = answered(good)
    recorder.record(answer)
    recorder.flush()
    assert (recorder.recorded, recorder.lost) == (1, 3)
    assert "credit version 2" in recorder.error
    assert found(tmp_path, answer) is not None


def test_redacted_columns_never_reach_the_disk(tmp_path: Path) -> None:
    recorder = LogRecorder(LogWriter(tmp_path, Retention()))
    recorder.start()
    some = served({"serving": {"log": {"redact": ["purpose", "half"]}}})
    none = served({"serving": {"log": {"redact": [each.name for each in INPUTS]}}}, version=2)
    answers = [answered(some), answered(none)]
    for answer in answers:
        recorder.record(answer)
    recorder.close()
    rows = [found(tmp_path, answer) for answer in answers]
    assert rows[0] is not None
    assert rows[0].inputs.keys() == {"age", "signal", "words"}
    assert rows[1] is not None
    assert rows[1].inputs == {}
    assert not any(b"car" in path.read_bytes() for path in tmp_path.rglob("*.parquet"))


def test_a_sample_is_chosen_by_the_ids(recorder: LogRecorder, tmp_path: Path) -> None:
    version = served({"serving": {"log": {"sample": 0.25}}})
    none = served({"serving": {"log": {"sample": 0}}}, version=2)
    answers = [answered(version, rows=100) for _ in range(4)]
    for answer in [*answers, answered(none, rows=50)]:
        recorder.record(answer)
    recorder.flush()
    chosen = [
        (answer, row)
        for answer in answers
        for row, taken in enumerate(
            ids.sampled(ids.from_numbers([answer.first], np.array([100])), 0.25)
        )
        if taken
    ]
    assert recorder.recorded == len(chosen)
    assert recorder.recorded + recorder.left_out == 450
    assert recorder.lost == 0
    assert all(found(tmp_path, answer, row) is not None for answer, row in chosen[:20])


def test_serving_goes_on_while_the_disk_is_full(
    serve: Any, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    client = serve()
    recorder = client.services.recorder

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pellucid.monitoring.spools._write", full)
        assert client.post("/v1/models/credit/predict", json=[ROW] * 3).status_code == 200
        recorder.flush()
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert "No space left" in ready.json()["prediction_log"]
        assert recorder.lost == 3
    assert client.post("/v1/models/credit/predict", json=[ROW]).status_code == 200
    recorder.flush()
    assert client.get("/health/ready").json()["prediction_log"] == "ok"
    assert recorder.recorded == 1
