"""CSV of every dialect and encoding, JSON lines and Parquet become the same canonical table."""

import codecs
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.datasets.content import content_hash
from pellucid.datasets.store import DatasetStore

Read = Callable[..., pa.Table]

TEXT = """name,age,city
José,41,Orléans
Zoë,,"São
Paulo"
Bjørn,29,"say ""hi"", Tromsø"
"""
ROWS = {
    "name": ["José", "Zoë", "Bjørn"],
    "age": [41, None, 29],
    "city": ["Orléans", "São\nPaulo", 'say "hi", Tromsø'],
}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(read: Read, encoding: str, ending: str) -> None:
    assert read(TEXT.replace("\n", ending).encode(encoding)).to_pydict() == ROWS


def test_cp1252_is_told_by_its_curly_quotes(read: Read) -> None:
    table = read("item,price\n“Crème brûlée”,5 €\n“Pâté”,7 €\n".encode("cp1252"))
    assert table.column("item").to_pylist() == ["“Crème brûlée”", "“Pâté”"]
    assert table.column("price").to_pylist() == ["5 €", "7 €"]


def test_another_alphabet(read: Read) -> None:
    text = "имя,город\n" + "Иван,Москва\nОльга,Тверь\n" * 5
    assert read(text.encode("cp1251")).column("город").to_pylist()[:2] == ["Москва", "Тверь"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(read: Read, delimiter: str) -> None:
    text = delimiter.join("abc") + "\n" + delimiter.join(["1", "x y", "2.5"]) + "\n"
    assert read(text).to_pydict() == {"a": [1], "b": ["x y"], "c": [2.5]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n'x, y',1\n'z',2\n", {"a": ["x, y", "z"], "b": [1, 2]}),
        ('a,b\n"x \\" y",1\n"z",2\n', {"a": ['x " y', "z"], "b": [1, 2]}),
        ("a\n1\n2\n", {"a": [1, 2]}),
        ("name\nSmith, John\nDoe, Jane\n", None),
        ("a, b\n1, NA\n2, 3\n", {"a": [1, 2], "b": [None, 3]}),
        ("a,b\n1,2\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
        ('Age,age\n1,"q,"\n', {"Age": [1], "age": ["q,"]}),
        ('"it\'s, ""odd""";c0\n1;2\n', {'it\'s, "odd"': [1], "c0": [2]}),
    ],
)
def test_dialects(read: Read, text: str, expected: dict[str, list[object]] | None) -> None:
    if expected is None:
        with pytest.raises(Exception, match="cells"):
            read(text)
    else:
        assert read(text).to_pydict() == expected


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1", "-2", "+3"], "int64", [1, -2, 3]),
        (["9223372036854775807", "NA"], "int64", [2**63 - 1, None]),
        (["1", "2.5", "1e-3", ".5", "5."], "double", [1, 2.5, 0.001, 0.5, 5]),
        (["true", "False", "TRUE", "null"], "bool", [True, False, True, None]),
        (["0", "1"], "int64", [0, 1]),
        (["yes", "no"], "string", ["yes", "no"]),
        (["1_000", "2"], "string", ["1_000", "2"]),
        (["0x1F", "2"], "string", ["0x1F", "2"]),
        (["A1", "1", "2"], "string", ["A1", "1", "2"]),
        (["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"], "string", [None] * 8),
        (["NA", "x", "none"], "string", [None, "x", "none"]),
        (["inf", "x"], "string", ["inf", "x"]),
        (["10:30", "11:30"], "string", ["10:30", "11:30"]),
    ],
)
def test_types(read: Read, cells: list[str], kind: str, expected: list[object]) -> None:
    column = read("row,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))).column("x")
    assert str(column.type) == kind
    assert column.to_pylist() == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2011-01-31", "2011-2-1"], [(2011, 1, 31), (2011, 2, 1)]),
        (["2011/01/31 "], [(2011, 1, 31)]),
        (["31/01/2011", "01/02/2011"], [(2011, 1, 31), (2011, 2, 1)]),
        (["01/31/2011", "02/01/2011"], [(2011, 1, 31), (2011, 2, 1)]),
        (["31.1.2011"], [(2011, 1, 31)]),
        (["05/05/2011"], [(2011, 5, 5)]),
        (["2011-01-31 10:30", ""], [(2011, 1, 31, 10, 30), None]),
        (["2011-01-31T10:30:15.25Z"], [(2011, 1, 31, 10, 30, 15, 250_000)]),
        (["2011-01-31 10:30:00+02:00"], [(2011, 1, 31, 8, 30)]),
        (["1/31/2011 1:30 PM"], [(2011, 1, 31, 13, 30)]),
        (["31-01-2011 23:59:59"], [(2011, 1, 31, 23, 59, 59)]),
    ],
)
def test_dates(read: Read, cells: list[str], expected: list[tuple[int, ...] | None]) -> None:
    column = read("row,when\n" + "".join(f"{i},{c}\n" for i, c in enumerate(cells))).column("when")
    assert column.type == pa.timestamp("us", tz="UTC")
    assert column.to_pylist() == [t and datetime(*t, tzinfo=UTC) for t in expected]  # type: ignore[misc, arg-type]


def test_overrides(read: Read) -> None:
    text = "zip,flag,n,when\n01234,1,5.0,2011-01-31\n99999,0,,2011-02-01\n"
    types = {"zip": "string", "flag": "bool", "n": "int64", "when": "string"}
    assert read(text, types=types).to_pydict() == {
        "zip": ["01234", "99999"],
        "flag": [True, False],
        "n": [5, None],
        "when": ["2011-01-31", "2011-02-01"],
    }


def test_json_lines(read: Read) -> None:
    lines = [
        {"a": 1, "s": "x", "zip": "01234", "when": "2011-01-31", "b": True},
        {"s": "", "a": 2, "zip": "5", "when": None, "b": None, "late": 1.5},
        {"a": None, "s": "NA", "zip": "6", "when": "2011-02-01T10:00:00Z", "b": False},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    assert read(text, "people.jsonl").to_pydict() == {
        "a": [1, 2, None],
        "s": ["x", "", "NA"],
        "zip": ["01234", "5", "6"],
        "when": [
            datetime(2011, 1, 31, tzinfo=UTC),
            None,
            datetime(2011, 2, 1, 10, tzinfo=UTC),
        ],
        "b": [True, None, False],
        "late": [None, 1.5, None],
    }


def test_json_lines_are_told_by_their_content_too(read: Read) -> None:
    text = '{"a/b": 1, "c~d\'": NaN}\n\n{"a/b": 2.5, "c~d\'": 3}\n'
    assert read(text.encode("utf-16"), "people.jsonl").to_pydict() == {
        "a/b": [1.0, 2.5],
        "c~d'": [None, 3],
    }
    assert read(text, "people.txt").num_rows == 2


def test_parquet_types(read: Read, tmp_path: Path) -> None:
    day = date(2011, 1, 31)
    table = pa.table(
        {
            "u8": pa.array([1, None], pa.uint8()),
            "i32": pa.array([-1, 2], pa.int32()),
            "f32": pa.array([0.5, float("nan")], pa.float32()),
            "f16": pa.array(np.array([0.5, 2], np.float16)),
            "money": pa.array([Decimal("1.25"), None], pa.decimal128(9, 2)),
            "day": pa.array([day, None], pa.date32()),
            "ns": pa.array([1_400, None], pa.timestamp("ns")),
            "zoned": pa.array([0, None], pa.timestamp("s", tz="Europe/Rome")),
            "kind": pa.array(["a", None]).dictionary_encode(),
            "text": pa.array(["NA", ""], pa.large_string()),
            "none": pa.nulls(2),
            "yes": pa.array([True, None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    got = read((tmp_path / "t.parquet").read_bytes(), "t.parquet")
    start = datetime(1970, 1, 1, tzinfo=UTC)
    assert got.to_pydict() == {
        "u8": [1, None],
        "i32": [-1, 2],
        "f32": [0.5, None],
        "f16": [0.5, 2.0],
        "money": [1.25, None],
        "day": [datetime(2011, 1, 31, tzinfo=UTC), None],
        "ns": [start.replace(microsecond=1), None],
        "zoned": [start, None],
        "kind": ["a", None],
        "text": ["NA", ""],
        "none": [None, None],
        "yes": [True, None],
    }
    assert [str(t) for t in got.schema.types[-3:]] == ["string", "string", "bool"]


def test_nan_among_parquet_numbers_is_missing(read: Read, tmp_path: Path) -> None:
    """The file's bounds of the column, 1 and 3, say nothing of NaN."""
    pq.write_table(pa.table({"x": [1.0, float("nan"), 3.0]}), tmp_path / "t.parquet")
    table = read((tmp_path / "t.parquet").read_bytes(), "t.parquet")
    assert table.column("x").to_pylist() == [1.0, None, 3.0]


def test_json_strings_stay_strings_where_a_key_is_absent(read: Read) -> None:
    table = read('{"zip": "01234", "n": 1}\n{"n": 2}\n', "people.jsonl")
    assert table.column("zip").to_pylist() == ["01234", None]


def test_parquet_overrides(read: Read, tmp_path: Path) -> None:
    table = pa.table({"n": [1.0, None, float("nan")], "code": [7, 8, 9], "d": ["31/1/2011"] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    got = read(
        (tmp_path / "t.parquet").read_bytes(),
        "t.parquet",
        types={"n": "int64", "code": "string"},
    )
    assert got.to_pydict() == {
        "n": [1, None, None],
        "code": ["7", "8", "9"],
        "d": ["31/1/2011"] * 3,
    }


def test_the_format_and_row_groups_leave_no_trace(store: DatasetStore, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": rng.integers(0, 9, 5000),
            "x": rng.random(5000).round(6),
            "s": rng.choice(["a", "b", None], 5000),
            "t": pd.date_range("2020-01-01", periods=5000, freq="h"),
        }
    )
    frame.to_csv(tmp_path / "f.csv", index=False)
    frame.to_csv(tmp_path / "f.tsv", index=False, sep="\t", encoding="utf-16")
    frame.to_json(
        tmp_path / "f.jsonl", orient="records", lines=True, date_format="iso", double_precision=15
    )
    frame.to_parquet(tmp_path / "f.parquet", row_group_size=7)
    digests = {store.add(p, name=p.stem)[0].sha256 for p in sorted(tmp_path.glob("f.*"))}
    version = store.get("f")
    assert digests == {version.sha256}
    assert version.version == 1
    assert content_hash(pq.read_table(store.path(version.sha256))) == version.sha256


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_any_text_survives_quoting(read: Read, cells: list[str], encoding: str) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    text = "row,x,y\n" + "".join(f"r{i},{cell},z\n" for i, cell in enumerate(quoted))
    got = read(text.encode(encoding), types={"x": "string"}).column("x").to_pylist()
    missing = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"}
    assert got == [None if cell.removeprefix(" ") in missing else cell for cell in cells]


def test_a_quoted_row_far_down_does_not_move_the_row_numbers(read: Read) -> None:
    rows = [f'{i},"two\nlines {i}"' for i in range(200_000)]
    table = read("n,text\n" + "\n".join(rows) + "\n")
    assert table.column("n").to_numpy().tolist() == list(range(200_000))
    assert table.column("text")[199_999].as_py() == "two\nlines 199999"
    assert codecs.BOM_UTF8 not in table.column("text")[0].as_py().encode()
