"""Versions: numbered by name, shared by content, published whole, listed by cursor."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pellucid.datasets.store import DatasetStore
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.errors import InvalidInput, NotFound
from pellucid.resources.datasets import Dataset
from pellucid.schema import Role, StorageType

Add = Callable[..., Dataset]


def test_versions_are_numbered_by_name(add: Add, store: DatasetStore) -> None:
    first, second = add("a\n1\n"), add("a\n2\n")
    other = add("a\n1\n", name="others")
    assert [(v.name, v.version) for v in (first, second, other)] == [
        ("people", 1),
        ("people", 2),
        ("others", 1),
    ]
    assert first.sha256 == other.sha256 != second.sha256
    assert store.get("people") == second
    assert store.get("people@1") == first
    assert store.get(second.sha256) == second
    assert store.path(first.sha256).parent.name == first.sha256


def test_a_version_says_what_it_is(add: Add, store: DatasetStore) -> None:
    version = add("a,b\n1,x\n2,\n", roles={"b": "sensitive"})
    assert version.rows == 2
    assert version.source == "people.csv"
    assert version.bytes == store.path(version.sha256).stat().st_size
    assert [(c.name, c.type, c.role) for c in version.data_schema.columns] == [
        ("a", StorageType.INT64, Role.FEATURE),
        ("b", StorageType.STRING, Role.SENSITIVE),
    ]
    assert version.parent is None
    assert store.get("people") == version


def test_the_same_content_again_is_the_same_version(
    add: Add, store: DatasetStore, tmp_path: Path
) -> None:
    first = add("a,b\n1,2\n", roles={"b": "target"})
    (tmp_path / "again.tsv").write_text("a\tb\n1\t2\n")
    for roles in (None, {"b": Role.TARGET}):
        again, new = store.add(tmp_path / "again.tsv", name="people", roles=roles)
        assert (again, new) == (first, False)
    others, new = store.add(tmp_path / "again.tsv", name="people", roles={"a": Role.TARGET})
    assert new
    assert (others.version, others.sha256) == (2, first.sha256)


def test_types_change_the_content(add: Add) -> None:
    assert add("a\n1\n").sha256 != add("a\n1\n", types={"a": "string"}).sha256


def test_an_unknown_reference_names_its_neighbours(add: Add, store: DatasetStore) -> None:
    with pytest.raises(NotFound, match="Register one"):
        store.get("people")
    add("a\n1\n", name="credit")
    add("a\n2\n", name="credit")
    for reference in ("credits", "credit@3", "credit@"):
        with pytest.raises(NotFound, match="credit@2"):
            store.get(reference)
    with pytest.raises(NotFound):
        store.get("f" * 64)


def test_pages_follow_their_cursor(add: Add, store: DatasetStore) -> None:
    for number in range(5):
        add(f"a\n{number}\n", name=f"n{number % 2}")
    seen, cursor = [], None
    while True:
        page = store.list(cursor=cursor, limit=2)
        seen += [(d.name, d.version) for d in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [("n0", 3), ("n1", 2), ("n0", 2), ("n1", 1), ("n0", 1)]
    assert [d.version for d in store.list(name="n0").items] == [3, 2, 1]
    assert store.list(name="nobody").items == []
    with pytest.raises(InvalidInput, match="not a cursor"):
        store.list(cursor="1; drop table")


def test_preview_is_plain_json(add: Add, store: DatasetStore) -> None:
    add("n,s,t,b\n1,x,2011-01-31,true\n,,,\n3,z,2011-02-01,false\n")
    rows = store.preview("people", rows=2)
    assert rows == [
        {"n": 1, "s": "x", "t": "2011-01-31T00:00:00+00:00", "b": True},
        {"n": None, "s": None, "t": None, "b": None},
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_a_column_is_read_alone(add: Add, store: DatasetStore) -> None:
    version = add("a,b\n1,x\n2,y\n")
    assert store.column(version.sha256, "b").to_pylist() == ["x", "y"]


def test_lineage(add: Add, store: DatasetStore) -> None:
    raw = add("a\n1\n", name="raw")
    clean = add("a\n2\n", name="clean", parent="raw")
    small = add("a\n3\n", name="small", parent=clean.sha256)
    other = add("a\n4\n", name="other", parent="raw@1")
    assert small.parent == clean.sha256
    assert store.ancestors(small) == [clean, raw]
    assert store.descendants(raw) == [clean, other, small]
    assert store.ancestors(raw) == store.descendants(small) == []


def test_lineage_ends_where_content_returns(add: Add, store: DatasetStore) -> None:
    add("a\n1\n", name="raw")
    add("a\n2\n", name="other", parent="raw")
    back = add("a\n1\n", name="back", parent="other")
    assert [d.name for d in store.ancestors(back)] == ["other"]
    assert [d.name for d in store.descendants(back)] == ["other"]


def test_an_abandoned_upload_is_swept(add: Add, home: Path) -> None:
    add("a\n1\n")
    for name, age in (("dead", 2 * 24 * 3600), ("alive", 60)):
        left = home / "datasets" / ".incoming" / name
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    add("a\n2\n")
    assert [p.name for p in (home / "datasets" / ".incoming").iterdir()] == ["alive"]


def register(home: Path, url: str, source: Path, number: int) -> tuple[str, int, bool]:
    database = Database(url)
    version, new = DatasetStore(home, database).add(source, name="people", filename=f"{number}.csv")
    database.close()
    return version.sha256, version.version, new


def test_the_same_content_at_once_from_threads(
    home: Path, tmp_path: Path, postgres_url: str
) -> None:
    """On PostgreSQL, where writers do not queue up: two may take the same number."""
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine)
    source, other = tmp_path / "a.csv", tmp_path / "b.csv"
    source.write_text("a,b\n" + "1,2\n" * 1000)
    other.write_text("a,b\n" + "1,3\n" * 1000)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(register, home, postgres_url, (source, other)[n % 2], n) for n in range(8)
        ]
        results = [job.result() for job in jobs]
    assert len({(sha, version) for sha, version, _ in results}) == 2
    assert sorted(version for _, version, new in results if new) == [1, 2]
    assert len(DatasetStore(home, database).list().items) == 2
    database.close()


REGISTER = """
import json, sys
from pathlib import Path
from pellucid.datasets.store import DatasetStore
from pellucid.db.session import Database

home, url, source = sys.argv[1:]
version, new = DatasetStore(Path(home), Database(url)).add(Path(source), name="people")
print(json.dumps([version.sha256, version.version, new]))
"""


def test_the_same_content_at_once_from_processes(
    home: Path, store: DatasetStore, tmp_path: Path
) -> None:
    source = tmp_path / "people.csv"
    source.write_text("a,b\n" + "".join(f"{i},x{i}\n" for i in range(5000)))
    command = [sys.executable, "-c", REGISTER, home, f"sqlite:///{home / 'pellucid.db'}", source]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    results = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    (digest,) = {sha for sha, _, _ in results}
    assert sorted(new for _, _, new in results) == [False, False, True]
    assert [d.version for d in store.list().items] == [1]
    assert pq.read_table(store.path(digest)).num_rows == 5000
    assert sorted(p.name for p in (home / "datasets" / digest).iterdir()) == [
        "data.parquet",
        "profile.json",
    ]
