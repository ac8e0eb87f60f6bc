"""Labels: each has its documented answer, whatever comes, and nothing is lost."""

import itertools
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st

from pellucid.errors import InvalidRows, NotFound, TooLarge, Unavailable
from pellucid.monitoring import ids, layout
from pellucid.monitoring.feedback import labels
from pellucid.monitoring.feedback.labels import Labels
from pellucid.monitoring.feedback.receipts import FeedbackReceipt, together
from pellucid.monitoring.feedback.taking import Given
from pellucid.monitoring.feedback.truths import Truth
from support.feedback import MOMENT, TRUTH, Desk, classified, given, predict, texts
from support.predictions import a_writer, batch, now, write

HOUR = int(MOMENT.timestamp() // 3600)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.writer.close()


def counts(receipt: FeedbackReceipt) -> dict[str, int]:
    told = receipt.model_dump(exclude={"notes", "notes_left_out", "received"})
    assert sum(told.values()) == receipt.received
    return {name: count for name, count in told.items() if count}


def stored(desk: Desk, model: str = "credit", hour: int = HOUR) -> dict[str, str]:
    table = Labels(desk.labels).latest(model, hour)
    identities = [ids.text(each) for each in table["id"].to_pylist()]
    return dict(zip(identities, table["label"].to_pylist(), strict=True))


def unknown(moment: datetime = MOMENT) -> str:
    return str(uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 1 << 63))


def test_a_label_is_accepted_repeated_and_contradicted(desk: Desk) -> None:
    words = predict(desk.log, classified([0.2, 0.7, 0.9]))
    first, *_ = texts(words)
    assert counts(desk.take(words, ["bad", "good", "good"])) == {"accepted": 3}
    assert counts(desk.take(words, ["bad", "good", "good"])) == {"repeated": 3}
    receipt = desk.take(words, ["good", "good", "good"])
    assert counts(receipt) == {"repeated": 2, "conflicting": 1}
    (note,) = receipt.notes
    assert (note.row, note.id, note.answer) == (1, first, "conflicting")
    assert stored(desk) == dict.fromkeys(texts(words), "good")
    desk.writer.close()
    assert stored(desk) == dict.fromkeys(texts(words), "good")


def test_contradicted_labels_are_kept_with_their_time(desk: Desk) -> None:
    words = predict(desk.log, classified([0.2]))
    for label in ("bad", "good", "bad"):
        desk.take(words, [label], source=f"says {label}")
    desk.writer.close()
    table = pa.concat_tables(
        [pa.parquet.read_table(path, partitioning=None) for path in desk.labels.rglob("*.parquet")]
    )
    assert table.schema.names == ["id", "time", "row", "label", "source"]
    assert table["source"].to_pylist() == ["says bad", "says good", "says bad"]
    times = table["time"].to_pylist()
    assert times == sorted(times)
    assert stored(desk) == {texts(words)[0]: "bad"}


def test_the_last_label_counts_by_any_clock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    words = predict(desk.log, classified([0.2, 0.7]))
    desk.take(words, ["bad", "bad"])
    present = time.time()
    for behind, label in ((0.0, "good"), (0.0, "bad"), (60.0, "good")):
        monkeypatch.setattr(time, "time", lambda behind=behind: present - behind)
        assert counts(desk.take(words[:1], [label])) == {"conflicting": 1}
        first, second = texts(words)
        assert stored(desk) == {first: label, second: "bad"}
    desk.writer.close()
    assert stored(desk) == {first: "good", second: "bad"}


def test_rows_of_one_request_are_taken_in_their_order(desk: Desk) -> None:
    words = predict(desk.log, classified([0.2, 0.7]))
    a, b = texts(words)
    receipt = desk.feedback.take(given([a, b, a, a, b], ["bad", "good", "bad", "good", "bad"]))
    assert counts(receipt) == {"accepted": 2, "repeated": 1, "conflicting": 2}
    assert [note.row for note in receipt.notes] == [4, 5]
    assert stored(desk) == {a: "good", b: "bad"}


def test_what_is_no_label_of_the_model_is_refused_by_row(desk: Desk) -> None:
    words = predict(desk.log, classified([0.2, 0.7, 0.9, 0.9]))
    receipt = desk.take(words, ["bad", "worse", None, " Good "])
    assert counts(receipt) == {"accepted": 1, "refused": 3}
    assert [note.row for note in receipt.notes] == [2, 3, 4]
    assert receipt.notes[0].reason == "'worse' is not one of the classes bad, good."
    assert receipt.notes[1].reason == "There is no label."
    receipt = desk.feedback.take(given(["nonsense", None], ["bad", "bad"]))
    assert counts(receipt) == {"refused": 2}
    assert "no prediction's id" in receipt.notes[0].reason
    assert stored(desk) == {texts(words)[0]: "bad"}


def test_a_single_label_that_is_refused_is_an_error(desk: Desk) -> None:
    words = predict(desk.log, classified([0.2]))
    with pytest.raises(InvalidRows, match="not one of the classes bad, good") as raised:
        desk.feedback.take(Given.of(pa.array(texts(words)), pa.array(["x"]), single=True))
    assert raised.value.where == {"row": 1, "id": texts(words)[0]}
    with pytest.raises(InvalidRows, match="no label"):
        desk.feedback.take(given([], []))


def test_an_unknown_id_is_pending_until_its_prediction_is_there(desk: Desk) -> None:
    words = predict(desk.log, classified([0.3]))
    late = [uuid.UUID(texts(words)[0]).int + n for n in (1, 2)]
    identities = [str(uuid.UUID(int=each)) for each in late]
    receipt = desk.feedback.take(given(identities, ["good", "nonsense"]))
    assert counts(receipt) == {"pending": 2}
    assert counts(desk.feedback.take(given(identities, ["good", "bad"]))) == {
        "repeated": 1,
        "conflicting": 1,
    }
    for sealed in (False, True):
        if sealed:
            desk.writer.close()
        assert stored(desk) == dict(zip(identities, ["good", "bad"], strict=True))
    for path in desk.log.rglob("*.parquet"):
        path.unlink()
    again = ids.from_arrow(pa.array([uuid.UUID(each).bytes for each in identities], ids.TYPE))
    rows = batch(0, 2)  # of their ids, in the log after all
    rows = rows.set_column(0, "id", ids.to_arrow(again))
    write(a_writer(desk.log), rows)
    assert counts(desk.take(again, ["good", "good"])) == {"repeated": 1, "conflicting": 1}


def test_ids_of_any_number_of_hours_are_not_looked_for(desk: Desk) -> None:
    made_up = [unknown(MOMENT + timedelta(hours=n)) for n in range(10_001)]
    with pytest.raises(TooLarge, match="10,001 hours"):
        desk.feedback.take(given(made_up, ["good"] * len(made_up)))
    assert not desk.labels.exists()


def test_what_may_still_be_in_a_queue_is_asked_for(desk: Desk) -> None:
    desk.feedback.take(given([unknown(datetime.now(UTC))], ["good"]))
    assert desk.flushed == 1
    desk.feedback.take(given([unknown()], ["good"]))
    assert desk.flushed == 1


def test_labels_of_predictions_that_are_no_longer_kept_are_late(tmp_path: Path) -> None:
    desk = Desk(tmp_path, days=2)
    old = datetime.now(UTC) - timedelta(days=3)
    words = predict(desk.log, classified([0.3]), moment=old)  # removed within an hour
    receipt = desk.feedback.take(given([*texts(words), unknown(old)], ["good", "good"]))
    assert counts(receipt) == {"accepted": 1, "late": 1}
    assert "no longer kept" in receipt.notes[0].reason
    hour = int(old.timestamp() // 3600)
    assert stored(desk, hour=hour) == {texts(words)[0]: "good"}
    desk.feedback.take(given([unknown(datetime.now(UTC))], ["good"]))
    desk.writer.close()  # sealing sweeps
    assert stored(desk, hour=hour) == {}
    assert len(list((desk.labels / labels.PENDING).glob("*.parquet"))) == 1


def test_every_model_and_version_has_its_own_classes(tmp_path: Path) -> None:
    truths = {
        ("credit", 1): TRUTH,
        ("credit", 2): Truth("classification", ("no", "yes")),
        ("a/b", 1): Truth("classification", (0, 1)),
    }

    def truth_of(model: str, version: int) -> Truth:
        if version == 9:
            raise NotFound("It was deleted.")
        return truths[model, version]

    desk = Desk(tmp_path, truth_of)
    parts = [
        predict(desk.log, classified([0.5]), model=model, version=version, moment=moment)
        for (model, version), moment in zip(
            [*truths, ("credit", 9)],
            [MOMENT + timedelta(minutes=40 * n) for n in range(4)],
            strict=True,
        )
    ]
    words = np.concatenate(parts)
    assert counts(desk.take(words, ["good", "yes", "1.0", "anything"])) == {"accepted": 4}
    assert counts(desk.take(words, ["yes", "good", "2", "other"])) == {
        "refused": 3,
        "conflicting": 1,
    }
    assert counts(desk.take(words, ["good", "yes", "true", "other"])) == {
        "repeated": 3,
        "refused": 1,
    }
    assert stored(desk, "a/b", HOUR + 1) == {texts(parts[2])[0]: "1"}


def test_nothing_is_kept_where_the_classes_cannot_be_asked(tmp_path: Path) -> None:
    def truth_of(model: str, version: int) -> Truth:
        raise Unavailable("MLflow does not answer.")

    desk = Desk(tmp_path, truth_of)
    words = predict(desk.log, classified([0.5]))
    with pytest.raises(Unavailable):
        desk.take(words, ["good"])
    assert not desk.labels.exists()


def test_unsealed_predictions_are_known(desk: Desk) -> None:
    writer = a_writer(desk.log)
    rows = batch(now(), 5)
    write(writer, rows)
    assert counts(desk.take(ids.from_arrow(rows["id"]), ["good"] * 5)) == {"accepted": 5}
    writer.close()
    assert counts(desk.take(ids.from_arrow(rows["id"]), ["good"] * 5)) == {"repeated": 5}


def test_many_small_files_become_one_and_say_the_same(desk: Desk) -> None:
    words = predict(desk.log, classified(np.full(40, 0.5)))
    expected = {}
    for n, each in enumerate(texts(words)):
        label = TRUTH.classes[n % 2]
        desk.feedback.take(given([each], [str(label)]))
        desk.writer.close()  # a file each time
        expected[each] = label
        assert stored(desk) == expected
    directory = desk.labels / layout.partition("credit", HOUR)
    assert len(list(directory.glob("*"))) < 8
    assert [p.name for p in (desk.labels / layout.SPOOLS).iterdir()] == []


def test_labels_of_a_process_that_died_are_read_and_taken_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    words = predict(desk.log, classified([0.5, 0.5]))
    desk.take(words[:1], ["good"])
    folder = desk.writer._folder
    assert folder is not None
    os.close(folder._lock)  # as the kernel does for a dead process
    assert stored(desk) == {texts(words)[0]: "good"}
    after = Desk(tmp_path)
    assert counts(after.take(words, ["bad", "bad"])) == {"accepted": 1, "conflicting": 1}
    assert len(list(desk.labels.glob("model=*/*/*.parquet"))) == 1
    after.writer.close()
    assert stored(after) == dict.fromkeys(texts(words), "bad")


def test_a_full_disk_loses_nothing_that_was_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = predict(desk.log, classified([0.5, 0.5]))
    desk.take(words[:1], ["good"])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(labels.pq, "write_table", full)
    desk.writer.close()
    assert stored(desk) == {texts(words)[0]: "good"}
    monkeypatch.undo()
    assert counts(desk.take(words, ["good", "good"])) == {"accepted": 1, "repeated": 1}
    desk.writer.close()
    assert stored(desk) == dict.fromkeys(texts(words), "good")


def test_what_a_full_disk_broke_off_is_removed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: pa.Table, path: Path, **__: Any) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    desk.take(predict(desk.log, classified([0.5])), ["good"])
    monkeypatch.setattr(labels.pq, "write_table", half)
    desk.writer.close()
    assert list(desk.labels.rglob("*.part")) == []


def test_labels_that_wait_in_vain_go_when_their_predictions_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files become one, whose newest label must not keep the oldest."""
    present = datetime.now(UTC)
    desk = Desk(tmp_path, days=10)
    for days in range(40, -1, -1):
        then = present - timedelta(days=days)
        monkeypatch.setattr(time, "time", then.timestamp)
        desk.feedback.take(given([unknown(then - timedelta(minutes=1))], ["good"]))
        desk.writer.close()
    found = pa.concat_tables(
        [pa.parquet.read_table(path) for path in (desk.labels / labels.PENDING).iterdir()]
    )
    oldest = present - timedelta(days=10 + 8)  # eight files become one
    times = found["time"].to_pylist()
    assert min(times) >= oldest
    assert len([each for each in times if each >= present - timedelta(days=10)]) >= 10


def test_large_files_are_left_as_they_are(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each merge would read all labels there ever were."""
    words = predict(desk.log, classified(np.full(30, 0.5)))
    monkeypatch.setattr(labels, "_WHOLE_BYTES", 1)
    for each in texts(words):
        desk.feedback.take(given([each], ["good"]))
        desk.writer.close()
    assert len(list(desk.labels.rglob("*.parquet"))) == 30
    assert stored(desk) == dict.fromkeys(texts(words), "good")


LABELS = st.sampled_from(["bad", "good", "worse"])


@settings(max_examples=15, deadline=None)
@given_(st.lists(st.lists(st.tuples(st.integers(0, 5), LABELS), max_size=8), max_size=6), st.data())
def test_the_answers_are_those_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Any], data: st.DataObject
) -> None:
    """Requests in any order, sealed or not, against the plainest way to keep labels."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    in_log = texts(predict(desk.log, classified([0.5] * 4), seconds=7200))
    identities = [*in_log, unknown(), unknown(MOMENT + timedelta(hours=1))]
    known: dict[str, str] = {}
    for request in requests:
        expected = dict.fromkeys(
            ("accepted", "repeated", "conflicting", "pending", "late", "refused"), 0
        )
        for place, label in request:
            identity = identities[place]
            if label == "worse" and place < 4:
                answer = "refused"
            elif identity not in known:
                answer = "accepted" if place < 4 else "pending"
            else:
                answer = "repeated" if known[identity] == label else "conflicting"
            expected[answer] += 1
            if answer != "refused":
                known[identity] = label
        if not request:
            continue
        pairs = [(identities[place], label) for place, label in request]
        receipt = desk.feedback.take(given(*zip(*pairs, strict=True)))
        assert counts(receipt) == {name: count for name, count in expected.items() if count}
        if data.draw(st.booleans()):
            desk.writer.close()
    found = stored(desk) | stored(desk, hour=HOUR + 1) | stored(desk, hour=HOUR + 2)
    assert found == known
    desk.writer.close()


def test_receipts_of_parts_are_one() -> None:
    note = {"id": "x", "answer": "refused", "reason": "no"}
    parts = [
        FeedbackReceipt(received=3, accepted=2, refused=1, notes=[note | {"row": 2}]),
        FeedbackReceipt(received=2, refused=2, notes=[note | {"row": 1}], notes_left_out=1),
    ]
    whole = together(parts)
    assert counts(whole) == {"accepted": 2, "refused": 3}
    assert [each.row for each in whole.notes] == [2, 4]
    assert whole.notes_left_out == 1


def test_many_ids_are_read_as_one_is() -> None:
    good = [
        str(uuid.UUID(int=int(time.time() * 1000) << 80 | 7 << 76 | 1 << 63 | n)) for n in range(3)
    ]
    written = [
        good[0].upper(),
        f" {good[1]} ",
        good[2].replace("-", ""),
        None,
        "",
        "x" * 32,
        good[0][:-1],
    ]
    bad_version = str(uuid.uuid4())
    far = str(uuid.UUID(int=(2**48 - 1) << 80 | 7 << 76 | 1 << 63))
    words, valid = ids.parse_many(pa.array([*written, bad_version, far]))
    assert valid.tolist() == [True] * 3 + [False] * 6
    assert texts(words[:3]) == good
    assert [ids.parse(each).int for each in good] == [int(a) << 64 | int(b) for a, b in words[:3]]


@pytest.mark.parametrize(
    ("truth", "text", "expected"),
    [
        (Truth("regression"), "1e3", "1000.0"),
        (Truth("regression"), " 12 ", "12.0"),
        (Truth("regression"), "nan", None),
        (Truth("regression"), "inf", None),
        (Truth("regression"), "1_000", None),
        (Truth("regression"), "twelve", None),
        (Truth("regression", steps=2), "[1, 2.5]", "[1.0, 2.5]"),
        (Truth("regression", steps=2), "[1]", None),
        (Truth("regression", steps=2), "[1, true]", None),
        (Truth("regression", steps=2), "[" * 10_000, None),
        (Truth("regression", steps=2), "12", None),
        (Truth("classification", ("false", "true")), "True", "true"),
        (Truth("classification", (0, 1, 2)), "2.0", "2"),
        (Truth("classification", (0, 1, 2)), "2.5", None),
        (Truth("classification", ("a", "A")), "A", "A"),
        (Truth("other"), "anything", "anything"),
        (Truth("other"), "x" * 2**17, None),
    ],
)
def test_a_label_has_one_way_to_be_written(truth: Truth, text: str, expected: str | None) -> None:
    assert truth.canonical(text) == expected
    if expected is not None:
        assert truth.canonical(expected) == expected


def test_a_writer_of_several_threads_keeps_every_label(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    words = predict(desk.log, classified(np.full(64, 0.5)))
    with ThreadPoolExecutor(4) as pool:
        every = pool.map(lambda row: desk.take(words[row : row + 1], ["good"]), range(64))
        assert sum(each.accepted for each in every) == 64
    assert len(stored(desk)) == 64
    desk.writer.close()
    assert len(stored(desk)) == 64
    assert not list(itertools.chain(desk.labels.rglob("*.arrow"), desk.labels.rglob("*.part")))
