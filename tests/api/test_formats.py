"""Rows as JSON, columns, CSV and Arrow: the same answers, and what does not fit is named."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.serving import ROW, ServiceClient, held_feed, probabilities

PREDICT = "/v1/models/credit/predict"
CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
ROWS = [
    ROW,
    {"age": 20.5, "owner": False, "since": "1999-01-01T00:00:00+02:00", "purpose": 'kite, "red"'},
    {"age": None, "owner": None, "since": None, "purpose": None},
]
SCHEMA = pa.schema(
    [("age", pa.float64()), ("owner", pa.bool_()), ("since", pa.timestamp("us", "UTC")),
     ("purpose", pa.string())]
)  # fmt: skip


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    times = [row["since"] and datetime.fromisoformat(row["since"]) for row in rows]
    columns = {name: [row[name] for row in rows] for name in ROW} | {"since": times}
    return pa.table(columns, schema=SCHEMA)


def csv_of(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROW), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()


def post(client: ServiceClient, body: bytes, kind: str, **headers: str) -> Any:
    return client.post(PREDICT, content=body, headers={"Content-Type": kind, **headers})


def shares(response: Any) -> list[float]:
    assert response.status_code == 200, response.text
    return [each["probabilities"]["good"] for each in response.json()["predictions"]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"columns": {n: [r[n] for r in ROWS] for n in ROW}})),
        ("application/json",
         json.dumps({"columns": list(ROW), "data": [list(r.values()) for r in ROWS]})),
        ("application/json", json.dumps({"columns": list(ROW), "index": [7, 8, 9],
                                         "data": [list(r.values()) for r in ROWS]})),
        (CSV, csv_of(ROWS)),
        (f"{CSV}; charset=utf-16", csv_of(ROWS).decode().encode("utf-16")),
        (CSV, b"\xef\xbb\xbf" + csv_of(ROWS, ";")),
        (CSV, csv_of(ROWS, "\t").replace(b"\r\n", b"\n")),
        (ARROW, stream(table_of(ROWS))),
        (ARROW, stream(table_of(ROWS).select(["since", "purpose", "owner", "age"]))),
        (ARROW, stream(pa.concat_tables([table_of(ROWS[:1]), table_of(ROWS[1:])]))),
    ],
)  # fmt: skip
def test_every_format_of_rows_has_the_same_answers(credit, kind, body):
    expected = shares(credit.post(PREDICT, json=ROWS))
    content = body if isinstance(body, bytes) else body.encode()
    assert shares(post(credit, content, kind)) == expected


@pytest.mark.parametrize(
    "column",
    [
        {"age": pa.array([41, 20], pa.int8())},
        {"age": pa.array([41, 20], pa.float32())},
        {"owner": pa.array([1, 0], pa.uint8())},
        {"since": pa.array(["2024-05-31T12:00:00Z", "1999-01-01"])},
        {"since": pa.array(["2024-05-31", "1999-01-01"]).cast(pa.date32())},
        {"since": pa.array([1717156800000, 915148800000]).cast(pa.timestamp("ms"))},
        {"purpose": pa.array(["car", "kite"]).dictionary_encode()},
        {"purpose": pa.array(["car", None]).dictionary_encode()},
        {"purpose": pa.array(["car", "kite"], pa.large_string())},
        {"purpose": pa.array(["car", "kite"], pa.string_view())},
        {name: pa.nulls(2) for name in ROW},
    ],
)
def test_arrow_types_that_mean_the_same_are_taken(credit, column):
    table = table_of([ROW, ROW | {"age": 20.0}])
    for name, array in column.items():
        table = table.set_column(table.column_names.index(name), name, array)
    assert len(shares(post(credit, stream(table), ARROW))) == 2


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "age": st.floats(-1e300, 1e300) | st.integers(-(2**53), 2**53) | st.none(),
                "owner": st.booleans() | st.none(),
                "since": st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))
                .map(lambda time: time.replace(tzinfo=UTC).isoformat()) | st.none(),
                "purpose": st.text(
                    st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1
                ).filter(lambda text: text.strip() not in ("NA", "N/A", "NaN", "nan", "null",
                                                           "NULL", "None", "")) | st.none(),
            }
        ),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_all_readers_agree(credit, rows):
    served = credit.services.pool.champion("credit")
    codec = credit.services.rows

    def feed(kind: str, body: bytes) -> Any:
        found = codec.decode(served, {b"content-type": kind.encode()}, body).feed
        return found.numbers, found.strings

    columns = {name: [row[name] for row in rows] for name in ROW}
    numbers, strings = feed("application/json", json.dumps(rows).encode())
    for kind, body in (
        ("application/json", json.dumps({"columns": columns}).encode()),
        (CSV, csv_of(rows)),
        (ARROW, stream(table_of(rows))),
    ):
        found = feed(kind, body)
        np.testing.assert_array_equal(found[0], numbers)
        assert found[1].tolist() == strings.tolist()


def test_answers_in_arrow(credit):
    response = credit.post(PREDICT, json=ROWS[:2], headers={"Accept": ARROW})
    assert response.headers["content-type"] == ARROW
    assert response.headers["x-model-name"] == "credit"
    assert response.headers["x-model-version"] == "1"
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.schema.metadata == {b"model": b"credit", b"version": b"1"}
    assert table.column_names == ["prediction_id", "label", "probability_bad", "probability_good"]
    expected = probabilities(held_feed(ROWS[:2]), 0.03)
    np.testing.assert_allclose(table["probability_good"].to_numpy(), expected[:, 1], atol=1e-6)
    assert table["label"].to_pylist() == ["good", "bad"]
    ids = table["prediction_id"].to_pylist()
    assert ids == sorted(set(ids))


def test_answers_in_csv(credit):
    response = post(credit, csv_of(ROWS), CSV, Accept="text/csv;q=0.9, application/json;q=0.1")
    assert response.headers["content-type"] == CSV
    assert response.headers["x-model-version"] == "1"
    found = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["label"] for row in found] == ["good", "bad", "good"]
    expected = shares(credit.post(PREDICT, json=ROWS))
    assert [float(row["probability_good"]) for row in found] == pytest.approx(expected)


@pytest.mark.parametrize("accept", ["*/*", "application/xml", "text/csv;q=0", "text/csv;q=x"])
def test_json_is_the_answer_to_everybody_else(credit, accept):
    response = credit.post(PREDICT, json=[ROW], headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"


def changed(**columns: Any) -> bytes:
    table = table_of([ROW, ROW])
    for name, array in columns.items():
        table = table.set_column(table.column_names.index(name), name, array)
    return stream(table)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (CSV, b"", "The body is empty"),
        (CSV, b"\n\n", "The body is empty"),
        (CSV, b"age,owner,since,purpose\n", "There are no rows"),
        (CSV, b"age,owner,since\n1,true,\n", "missing 'purpose'"),
        (CSV, b"age,owner,since,purpose,agee\n1,true,,car,2\n", "'agee' is no input"),
        (CSV, b"age,age,owner,since,purpose\n1,1,true,,car\n", "'age' is given twice"),
        (CSV, b"age,owner,since,purpose\n1,true,,car\nold,true,,car\n",
         "Row 2, column 'age': \"old\" is not a finite number"),
        (CSV, b"age,owner,since,purpose\n1,true,,car\ninf,true,,car\n", "\"inf\" is not a finite"),
        (CSV, b"age,owner,since,purpose\n1,maybe,,car\n", "\"maybe\" is not true or false"),
        (CSV, b"age,owner,since,purpose\n1,true,31.5.2024,car\n", "ISO 8601"),
        (CSV, b"age,owner,since,purpose\n1,true,,car\n2,true,,car,5\n", "Row 2 has 5 cells"),
        (CSV, b'age,owner,since,purpose\n1,true,,"car\n', "A quote is not closed"),
        (CSV, b"age,owner,since,purpose\n1,true,,\xff\n", "not UTF-8"),
        (f"{CSV}; charset=utf-16", b"odd", "The body is not utf-16"),
        (ARROW, b"", "no valid Arrow IPC stream"),
        (ARROW, b"age,owner", "no valid Arrow IPC stream"),
        (ARROW, stream(table_of(ROWS))[:-30], "no valid Arrow IPC stream"),
        (ARROW, stream(table_of(ROWS), compression="zstd"), "is compressed"),
        (ARROW, stream(table_of(ROWS).slice(0, 0)), "There are no rows"),
        (ARROW, stream(table_of(ROWS).drop(["age"])), "missing 'age'"),
        (ARROW, changed(age=pa.array(["1", "2"])), "column's type is string; it takes a finite"),
        (ARROW, changed(age=pa.array([1.0, float("inf")])), "Row 2, column 'age': "),
        (ARROW, changed(age=pa.array([True, False])), "column's type is bool"),
        (ARROW, changed(owner=pa.array([1, 2])), "Row 2, column 'owner': 2 is not true or false"),
        (ARROW, changed(since=pa.array(["2024-01-01", "soon"])), "Row 2, column 'since': \"soon\""),
        (ARROW, changed(since=pa.array([1, 2])), "column's type is int64; it takes an ISO 8601"),
        (ARROW, changed(purpose=pa.array([1, 2])), "column's type is int64; it takes a string"),
        ("application/json", b'{"columns": {"age": [1]}}', "missing 'owner'"),
        ("application/json", b'{"columns": ["age"], "data": [[1], 2]}', "Row 2 is no list of 1"),
        ("application/json", b'{"columns": ["age", "age"], "data": []}', "given twice"),
        ("application/json", b'{"columns": 3}', "not a table of columns"),
        ("application/json", b'{"columns": {}, "rows": []}', "not a table of columns"),
        ("application/json", json.dumps({"columns": {n: [None] for n in ROW} | {"age": []}})
         .encode(), "'age' holds no rows"),
        ("application/json", json.dumps({"columns": {n: [None] for n in ROW} | {"age": [1, 2]}})
         .encode(), "differ in length: 'age' has 2"),
        ("application/json", json.dumps({"columns": {n: [None] for n in ROW} | {"age": 1}})
         .encode(), "'age' holds no list"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(credit, kind, body, said):
    response = post(credit, body, kind)
    assert response.status_code == 422, response.text
    assert said in response.json()["detail"]


def test_types_that_are_not_read_are_refused(credit):
    assert post(credit, b"<rows/>", "application/xml").status_code == 415
    for charset in ("klingon", "hex", "punycode", "idna"):
        assert post(credit, csv_of(ROWS), f"{CSV}; charset={charset}").status_code == 415


def test_what_is_wrong_is_told_briefly(credit):
    names = [f"k{i}" for i in range(60_000)]
    for content in (
        {"columns": names, "data": []},
        {"columns": {name: [1] for name in names}},
        [dict.fromkeys(names, 1)],
        [ROW | {"k" * 10**6: 1}],
        dict.fromkeys(names, 1),
    ):
        response = credit.post(PREDICT, json=content)
        assert response.status_code == 422
        assert len(response.content) < 2000
    twice = credit.post(PREDICT, json={"columns": ["a", "b", "a"], "data": []})
    assert '"a" is no name of a column, or is given twice' in twice.json()["detail"]


def test_a_hundred_thousand_rows_and_no_more(credit):
    table = pa.concat_tables([table_of([ROW])] * 100_000).combine_chunks()
    response = post(credit, stream(table), ARROW, Accept=ARROW)
    answers = pa.ipc.open_stream(response.content).read_all()
    assert len(set(answers["prediction_id"].to_pylist())) == 100_000
    assert len(set(answers["probability_good"].to_pylist())) == 1
    more = pa.concat_tables([table, table_of([ROW])])
    assert post(credit, stream(more), ARROW).status_code == 413


def test_a_long_text_that_many_rows_share_is_refused(credit):
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 2**20])
    table = pa.concat_tables([table_of([ROW])] * 20_000).combine_chunks()
    response = post(credit, stream(table.set_column(3, "purpose", words)), ARROW)  # 20 GB of text
    assert response.status_code == 413
    assert "once each row has its own" in response.json()["detail"]
