"""Every file that cannot be taken: what is wrong, where, and what to do; and nothing is kept."""

import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.datasets import contents, ingest
from pellucid.datasets.store import DatasetStore
from pellucid.errors import InvalidData, NotFound, StorageFull
from pellucid.resources.datasets import Dataset

Add = Callable[..., Dataset]

NUMBERS = "".join(f"{i}\n" for i in range(20))
MEGABYTES = "x" * 10_000_000


@pytest.fixture(autouse=True)
def nothing_is_kept(home: Path, store: DatasetStore) -> Iterator[None]:
    yield
    assert store.list().items == []
    root = home / "datasets"
    assert [p for p in root.rglob("*") if p.is_file()] == []
    assert [p.name for p in root.glob("*")] in ([], [".incoming"])
    assert list(root.glob(".incoming/*")) == []


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        ("", {}, "empty"),
        ("\n \n", {}, "empty"),
        ("a,b\n", {}, "no rows"),
        ("a", {}, "no rows"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", {"row": 2}, "cells"),
        ("a,b,c\n1,2,3\n4,5,6,7\n", {"row": 2}, "cells"),
        ('a,b\n"x\n\ny",1\n2\n', {"row": 2}, "cells"),
        ("a,b,a\n1,2,3\n", {"row": "header", "column": 3}, "'a' comes twice"),
        ("a,,c\n1,2,3\n", {"row": "header", "column": 2}, "no name"),
        ("a,b,\n1,2,\n", {"row": "header", "column": 3}, "no name"),
        (f"a,{MEGABYTES}\n1,2\n", {"row": "header"}, "header cannot be read"),
        ("\n\na,b\n1,2\n", {"row": "header", "column": 1}, "no name"),
        ('a,b\n1,"x\n2,y\n3,z\n', {"row": 1, "column": "b"}, "quote"),
        (f"a,b\n1,2\n3,{MEGABYTES}\n", {"row": 2, "column": "b"}, "1,048,576 bytes"),
        (f"a,b\n1,2\n3,{MEGABYTES * 2}\n", {"line": 3}, "16,777,216 bytes"),
        (f"a,b\n1,2\n3,{MEGABYTES * 5}", {"line": 3}, "16,777,216 bytes"),
        ('a,b\n1,2\n3,"' + f"{MEGABYTES[:99]}\n" * 200_000 + '"\n', {"row": 2}, "16,777,216 bytes"),
        (f"age\n{NUMBERS}forty\n7\n", {"row": 21, "column": "age"}, "'forty' is not a number"),
        (f"age\n{NUMBERS}inf\n", {"row": 21, "column": "age"}, "'inf' is infinite"),
        (f"age\n{NUMBERS}1e400\n", {"row": 21, "column": "age"}, "'1e400' is infinite"),
        ("id\n1\n99999999999999999999\n", {"row": 2, "column": "id"}, "64 bits"),
        ("day\n" + "2020-01-05\n" * 20 + "soon\n", {"row": 21, "column": "day"}, "'soon'"),
        ("day\n05/05/2020\n01/02/2020\n", {"row": 2, "column": "day"}, "day or the month first"),
    ],
)  # fmt: skip
def test_text(add: Add, content: str, where: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData) as caught:
        add(content)
    assert caught.value.where == {"file": "people.csv"} | where
    assert says in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (bytes(range(256)) * 50, {}),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(500), {}),
        (b"a,b\n1,\x00\n", {}),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + np.random.default_rng(0).bytes(999), {}),
        ("a,b\n1,2\n".encode("utf-16")[:-1], {}),
        (("name\n" + "é\n" * 9).encode() + "ü\n".encode("latin-1"), {"line": 11}),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text(add: Add, content: bytes, where: dict[str, Any]) -> None:
    with pytest.raises(InvalidData) as caught:
        add(content)
    assert caught.value.where == {"file": "people.csv"} | where
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        ('{"a": 1}\n{"a": 2\n', {"row": 2}, "not valid JSON"),
        ('{"a": 1}\n[1, 2]\n', {"row": 2}, "not an object"),
        ('[{"a": 1}]\n', {"row": 1}, "not an object"),
        ('{"a": 1}\n{"a": {"b": 2}}\n', {"row": 2, "column": "a"}, "object or array"),
        ('{"a": [1]}\n{"a": [2, "x"]}\n', {"row": 2, "column": "a"}, "else than numbers"),
        ('{"a": [1]}\n{"a": [[2]]}\n', {"row": 2, "column": "a"}, "else than numbers"),
        ('{"a": [1]}\n{"a": 2}\n', {"row": 1, "column": "a"}, "object or array"),
        ('{"a": [1]}\n{"a": [1e999]}\n', {"row": 2, "column": "a"}, "infinite"),
        ('{"": 1}\n', {"row": "header", "column": 1}, "no name"),
        ("{}\n", {}, "no columns"),
        ('{"a": 1}\n{"a": "' + MEGABYTES + '"}\n', {"row": 2, "column": "a"}, "1,048,576 bytes"),
        ('{"a": 1}\n{"a": "' + MEGABYTES * 9 + '"}\n', {"line": 2}, "16,777,216 bytes"),
        ('{"a": 1}\n' * 20 + '{"a": "x"}\n', {"row": 21, "column": "a"}, "'x' is not a number"),
    ],
)
def test_json_lines(add: Add, content: str, where: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData) as caught:
        add(content, "people.jsonl")
    assert caught.value.where == {"file": "people.jsonl"} | where
    assert says in str(caught.value)


EMBEDDED = pa.schema({"a": pa.struct({"bytes": pa.binary(), "path": pa.string()})})


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize(
    ("table", "where", "says"),
    [
        (pa.table({"a": [["x"], ["y"]]}), {"column": "a"}, "type list<"),
        (pa.table({"a": [[[1.0]]]}), {"column": "a"}, "type list<"),
        (pa.table({"a": [{"b": 1}]}), {"column": "a"}, "type struct"),
        (pa.table({"a": pa.array([b"x"], pa.binary(1))}), {"column": "a"}, "type fixed_size"),
        (pa.table({"a": [None, b"x"]}), {"row": 2, "column": "a"}, "no image"),
        (pa.table({"a": [[1.0], [2.0, float("inf")]]}), {"row": 2, "column": "a"}, "infinite"),
        (pa.table({"a": [[1], [2**53 + 1]]}), {"row": 2, "column": "a"}, "64-bit floats"),
        (pa.table({"a": [[1.0]] * 3 + [[0.0] * 200_000]}), {"row": 4, "column": "a"}, "1,048,576"),
        (
            pa.table({"a": [{"bytes": None, "path": "x.png"}]}).cast(EMBEDDED),
            {"row": 1, "column": "a"},
            "not in the file",
        ),
        (pa.table({"a": pa.array([1], pa.time64("us"))}), {"column": "a"}, "type time64"),
        (pa.table({"a": [1.0, float("inf")]}), {"row": 2, "column": "a"}, "infinite"),
        (pa.table({"a": pa.array([1, 2**63], pa.uint64())}), {"row": 2, "column": "a"}, "64 bits"),
        (pa.table({"a": pa.array([], pa.int64())}), {}, "no rows"),
        (pa.table({"a": ["x" * 2_000_000]}), {"row": 1, "column": "a"}, "1,048,576 bytes"),
        (pa.table([[1], [2]], names=["a", "a"]), {"row": "header", "column": 2}, "twice"),
    ],
)
def test_parquet(add: Add, table: pa.Table, where: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData) as caught:
        add(parquet(table), "t.parquet")
    assert caught.value.where == {"file": "t.parquet"} | where
    assert says in str(caught.value)


@pytest.mark.parametrize("keep", [4, 50, -1])
def test_a_parquet_file_cut_off(add: Add, keep: int) -> None:
    with pytest.raises(InvalidData, match="not a whole Parquet file"):
        add(parquet(pa.table({"a": list(range(100))}))[:keep], "t.parquet")


def test_a_damaged_parquet_page(add: Add) -> None:
    content = bytearray(parquet(pa.table({"a": [f"word {i}" for i in range(50_000)]})))
    content[500:20_000] = b"\xff" * 19_500
    with pytest.raises(InvalidData, match="cannot be read"):
        add(bytes(content), "t.parquet")


@pytest.mark.parametrize(
    ("options", "where", "says"),
    [
        ({"types": {"b": "int64"}}, {"row": 2, "column": "b"}, "'x' cannot be read as int64"),
        ({"types": {"a": "bool"}}, {"row": 2, "column": "a"}, "'7' cannot be read as bool"),
        ({"types": {"a": "timestamp[us]"}}, {"row": 1, "column": "a"}, "'1' cannot be read as"),
        ({"types": {"z": "int64"}}, {"column": "z"}, "`types` names the column 'z'"),
        ({"roles": {"z": "target"}}, {"column": "z"}, "`roles` names the column 'z'"),
        ({"types": {"a": "list<float64>"}}, {"column": "a"}, "a column of single values"),
        ({"types": {"a": "decimal"}}, {"column": "a"}, "`types` gives 'decimal'"),
        ({"roles": {"a": "label"}}, {"column": "a"}, "`roles` gives 'label'"),
    ],
)
def test_options(add: Add, options: dict[str, Any], where: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData) as caught:
        add("a,b\n1,2\n7,x\n", **options)
    assert caught.value.where == {"file": "people.csv"} | where
    assert says in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "a@1", "x" * 101, "0" * 64, "é", "a\n"])
def test_names(add: Add, name: str) -> None:
    with pytest.raises(InvalidData, match="cannot name a data set"):
        add("a\n1\n", name=name)


def test_an_unknown_parent(add: Add) -> None:
    with pytest.raises(NotFound):
        add("a\n1\n", parent="nobody")


def test_a_filename_is_never_a_path(add: Add, store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a\nx,y\n")
    with pytest.raises(InvalidData) as caught:
        store.add(tmp_path / "f", name="people", filename="../../etc/people.csv")
    assert caught.value.where["file"] == "people.csv"


@pytest.mark.parametrize("at", ["data", "profile", "publish", "duckdb", "convert"])
def test_a_full_disk(add: Add, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def full(*_: object, **__: object) -> None:
        if at == "duckdb":
            raise duckdb.IOException("Could not write file: No space left on device")
        raise OSError(errno.ENOSPC, "No space left on device")

    content: bytes | str = "a,b\n1,2\n"
    if at == "data":
        monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    elif at == "profile":
        monkeypatch.setattr(contents, "_write_profiles", full)
    elif at == "publish":
        monkeypatch.setattr(Path, "rename", full)
    elif at == "duckdb":
        monkeypatch.setattr(ingest, "infer", full)
    else:
        monkeypatch.setattr("pellucid.datasets.readers.delimited.as_utf8", full)
    with pytest.raises(StorageFull) as caught:
        add(content)
    assert caught.value.where == {"file": "people.csv"}


@pytest.mark.parametrize("limit", [100, 30_000, 300_000])
def test_a_disk_that_really_fills_up(add: Add, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """A limit on the size of files stands in for a full disk: writes fail part-way."""
    take = contents.Contents.take
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*args: Any, **options: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            return take(*args, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(contents.Contents, "take", limited)
    text = "x,y\n" + "".join(f"{i},é{i * 7919 % 10_007}\n" for i in range(60_000))
    with pytest.raises(StorageFull) as caught:
        add(text.encode("latin-1"))
    assert caught.value.where == {"file": "people.csv"}
