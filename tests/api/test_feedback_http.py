"""`POST /v1/feedback`: labels one by one, in lists and in files; whatever comes, an answer."""

import io
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.cli.feedback import feedback
from pellucid.cli.predictions import show
from pellucid.client import Client
from pellucid.errors import InvalidRows
from pellucid.monitoring.feedback.labels import Labels
from pellucid.monitoring.feedback.receipts import FeedbackReceipt
from support.serving import ROW, ServiceClient

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def predictions(client: ServiceClient, rows: int, name: str = "credit") -> list[str]:
    reply = client.post(f"/v1/models/{name}/predict", json=[ROW] * rows)
    assert reply.status_code == 200, reply.text
    return [each["id"] for each in reply.json()["predictions"]]


def give(client: ServiceClient, content: Any, kind: str = "", **params: Any) -> dict[str, int]:
    sent: dict[str, Any] = {"json": content}
    if kind:
        sent = {"content": content, "headers": {"Content-Type": kind}}
    reply = client.post("/v1/feedback", params=params, **sent)
    assert reply.status_code == 200, reply.text
    receipt = FeedbackReceipt.model_validate_json(reply.content)
    counts = receipt.model_dump(exclude={"notes", "notes_left_out"})
    return {name: count for name, count in counts.items() if count}


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def unknown() -> str:
    return str(uuid.UUID(int=int(time.time() * 1000) << 80 | 7 << 76 | 1 << 63))


def test_a_label_is_taken_a_moment_after_its_prediction(credit: ServiceClient) -> None:
    (identity,) = predictions(credit, 1)
    assert give(credit, {"id": identity, "label": "good"}) == {"received": 1, "accepted": 1}
    assert give(credit, {"id": identity, "label": "good"}) == {"received": 1, "repeated": 1}
    assert give(credit, {"id": identity, "label": "bad"}) == {"received": 1, "conflicting": 1}
    hour = (uuid.UUID(identity).int >> 80) // 3_600_000
    table = Labels(credit.services.settings.home / "labels").latest("credit", hour)
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert labels[uuid.UUID(identity).bytes] == "bad"


def test_a_prediction_shows_all_labels_that_were_told_of_it(
    credit: ServiceClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = predictions(credit, 2)
    give(credit, [{"id": mine, "label": "good"}, {"id": other, "label": "good"}])
    credit.services.labels.close()  # the first are sealed, the next are in a spool
    give(credit, [{"id": mine, "label": "good"}, {"id": mine, "label": "bad"}], source="courts")
    told = credit.get(f"/v1/predictions/{mine}").json()["labels"]
    assert [(each["label"], each["source"]) for each in told] == [("good", ""), ("bad", "courts")]
    assert told[0]["time"] < told[1]["time"]
    monkeypatch.setenv("PELLUCID_URL", str(credit.base_url))
    show(mine)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-1] for line in shown if line[:1] == ["label"]] == ["good", "bad"]


def test_lists_and_files_say_the_same(credit: ServiceClient) -> None:
    ids = predictions(credit, 20)
    labels = ["good", "bad"] * 10
    rows = [{"id": each, "label": label} for each, label in zip(ids, labels, strict=True)]
    table = pa.table({"id": ids, "label": labels, "note": [1] * 20})
    uuids = pa.array([uuid.UUID(each).bytes for each in ids], pa.binary(16))
    again = {"received": 20, "repeated": 20}
    assert give(credit, rows, source="table") == {"received": 20, "accepted": 20}
    assert give(credit, {"labels": rows}) == again
    csv = "label;prediction_id\n" + "".join(f"{r['label']};{r['id']}\n" for r in rows)
    assert give(credit, csv.encode(), "text/csv; charset=utf-8") == again
    for each in (
        table,
        table.set_column(1, "label", table["label"].dictionary_encode()),
        table.set_column(0, "id", uuids),
        table.set_column(0, "id", pa.ExtensionArray.from_storage(pa.uuid(), uuids)),
        table.set_column(0, "id", table["id"].cast(pa.large_string())),
    ):
        assert give(credit, stream(each), ARROW) == again
        assert give(credit, parquet(each), PARQUET) == again


def test_each_row_that_is_not_taken_is_told(credit: ServiceClient) -> None:
    good, bad, none = predictions(credit, 3)
    rows = [
        {"id": good, "label": "good"},
        {"id": bad, "label": "kite"},
        {"id": none, "label": None},
        {"id": unknown(), "label": "good"},
        {"id": "x", "label": "good"},
        {"label": "good"},
        {"id": good, "label": {"a": [1]}},
    ]
    reply = credit.post("/v1/feedback", json=rows)
    assert reply.status_code == 200
    receipt = reply.json()
    assert (receipt["accepted"], receipt["pending"], receipt["refused"]) == (1, 1, 5)
    told = {note["row"]: note for note in receipt["notes"]}
    assert sorted(told) == [2, 3, 4, 5, 6, 7]
    assert told[2]["reason"] == "'kite' is not one of the classes bad, good."
    assert told[4]["answer"] == "pending"
    assert told[6]["id"] == ""


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b"[1]", "application/json", 422),
        (b'{"id": 5, "label": 1}', "application/json", 422),
        (b'{"id": "x", "label": "good"}', "application/json", 422),
        (b'[{"id": "\\ud800", "label": "good"}]', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"id,value\n1,2\n", "text/csv", 422),
        (b"id,label\n", "text/csv", 422),
        (b"id,label,id\n1,2,3\n", "text/csv", 422),
        (b"id,label\n\xff,1\n", "text/csv", 422),
        (b"nonsense", ARROW, 422),
        (b"PAR1nonsensePAR1", PARQUET, 422),
        (stream(pa.table({"id": [[1]], "label": ["a"]})), ARROW, 422),
        (stream(pa.table({"id": pa.array([], pa.string()), "label": []})), ARROW, 422),
        (parquet(pa.table({"id": [1.5], "label": [{"a": 1}]})), PARQUET, 422),
        (parquet(pa.table({"id": [1.5]})), PARQUET, 422),
        (b"x", "image/png", 415),
        (b"id,label\n", "text/csv; charset=nonsense", 415),
    ],
)
def test_what_is_no_feedback_is_a_problem(
    credit: ServiceClient, content: bytes, kind: str, status: int
) -> None:
    reply = credit.post("/v1/feedback", content=content, headers={"Content-Type": kind})
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_file_whose_few_bytes_stand_for_many_is_too_large(credit: ServiceClient) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), ["x" * 100_000])
    table = pa.table({"id": ["x"] * 200_000, "label": long})
    for content, kind in ((stream(table), ARROW), (parquet(table), PARQUET)):
        reply = credit.post("/v1/feedback", content=content, headers={"Content-Type": kind})
        assert reply.status_code == 413, reply.text


def test_numbers_and_forecasts_are_labels_too(serve: Any, register: Any) -> None:
    register("price", task="regression")
    client = serve()
    ids = predictions(client, 4, "price")
    rows = [{"id": each, "label": n + 0.5} for n, each in enumerate(ids)]
    assert give(client, rows) == {"received": 4, "accepted": 4}
    numbers = pa.table({"id": ids, "label": pa.array([0.5, 1.5, 2.5, 9], pa.float32())})
    assert give(client, parquet(numbers), PARQUET) == {
        "received": 4,
        "repeated": 3,
        "conflicting": 1,
    }
    reply = client.post("/v1/feedback", json={"id": ids[0], "label": "cheap"})
    assert reply.status_code == 422
    assert reply.json()["detail"] == "'cheap' is not a finite number."
    assert reply.json()["where"] == {"row": 1, "id": ids[0]}


def test_the_client_and_the_command_tell_labels(
    credit: ServiceClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second, third = predictions(credit, 3)
    with Client(str(credit.base_url)) as client:
        assert client.feedback({first: "good"}).accepted == 1
        assert client.feedback({first: "good", second: "bad"}, source="x").repeated == 1
        assert client.feedback(pa.table({"id": [first], "label": ["bad"]})).conflicting == 1
    monkeypatch.setenv("PELLUCID_URL", str(credit.base_url))
    feedback(prediction_id=third, label="good")
    assert "accepted" in capsys.readouterr().out
    csv, columns = tmp_path / "labels.csv", tmp_path / "labels.parquet"
    csv.write_text(f"id,label\n{first},bad\n{second},kite\n{third},\n")
    pq.write_table(pa.table({"prediction_id": [first, second], "label": ["bad", "bad"]}), columns)
    feedback(csv)
    told = capsys.readouterr()
    assert [line.split() for line in told.out.splitlines()] == [
        ["received", "3"],
        ["repeated", "1"],
        ["refused", "2"],
    ]
    assert "'kite' is not one of the classes bad, good." in told.err
    monkeypatch.setattr(sys.modules["pellucid.cli.feedback"], "_ROWS", 1)
    feedback(columns, as_json=True)
    assert json.loads(capsys.readouterr().out)["repeated"] == 2
    for wrong in ({}, {"file": csv, "label": "x", "prediction_id": "y"}, {"label": "x"}):
        with pytest.raises(InvalidRows, match="nothing to tell"):
            feedback(**wrong)
    with pytest.raises(InvalidRows, match="cannot be read"):
        feedback(tmp_path / "absent.csv")


def test_labels_outlive_the_service(serve: Any, register: Any) -> None:
    register()
    client = serve()
    ids = predictions(client, 3)
    give(client, [{"id": each, "label": "good"} for each in ids])
    client.services.close()
    home = client.services.settings.home
    assert len(list((home / "labels").glob("model=credit/hour=*/*.parquet"))) == 1
    assert not list((home / "labels" / "spools").iterdir())


def test_a_disk_that_fails_is_a_problem_too(
    serve: Any, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    client = serve()
    (identity,) = predictions(client, 1)
    for number, status in ((28, 507), (5, 503)):

        def fail(*_: Any, number: int = number) -> None:
            raise OSError(number, "it fails")

        monkeypatch.setattr(client.services.labels, "append", fail)
        reply = client.post("/v1/feedback", json={"id": identity, "label": "good"})
        assert reply.status_code == status
    monkeypatch.undo()
    assert give(client, {"id": identity, "label": "good"}) == {"received": 1, "accepted": 1}
    client.services.labels.close()
    (file,) = (client.services.settings.home / "labels").glob("model=*/*/*.parquet")
    file.write_bytes(b"PAR1")
    reply = client.post("/v1/feedback", json={"id": identity, "label": "good"})
    assert reply.status_code == 503


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.one_of(
        VALUES,
        st.fixed_dictionaries({"id": VALUES, "label": VALUES}),
        st.lists(st.fixed_dictionaries({"id": VALUES, "label": VALUES}), max_size=3),
    )
)
def test_any_json_gets_an_answer(credit: ServiceClient, body: Any) -> None:
    content = json.dumps(body).encode()
    reply = credit.post("/v1/feedback", content=content)
    assert reply.status_code in (200, 422), reply.text
