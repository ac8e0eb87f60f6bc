"""A table that is mapped from the disk."""

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.errors import StorageFull
from pellucid_pipelines import mapped
from pellucid_pipelines.mapped import Mapped, rewrite

COUNT = 3000


@pytest.fixture
def table() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "x": random.normal(size=COUNT),
            "unused": random.normal(size=COUNT),
            "name": [None if i % 7 == 0 else "n" * (i % 30) for i in range(COUNT)],
            "list": pa.array([[float(i)] * (i % 3) for i in range(COUNT)]),
            "image": pa.array([bytes([i % 256] * 5) for i in range(COUNT)], pa.large_binary()),
        }
    )


@pytest.fixture
def a_mapped(tmp_path, table, monkeypatch) -> Mapped:
    monkeypatch.setattr(mapped, "_BLOCK", 8000)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    rewrite(tmp_path / "t.parquet", tmp_path / "rows.arrow", ["x", "name", "list", "image"])
    return Mapped(tmp_path / "rows.arrow", tmp_path / "t.parquet")


def test_it_has_the_same_rows_in_any_order(a_mapped, table):
    assert a_mapped.num_rows == COUNT
    assert 10 < a_mapped.block < 700
    assert a_mapped.column_names == ["x", "name", "list", "image"]
    expected = table.drop_columns("unused")
    random = np.random.default_rng(1)
    for rows in (
        np.arange(COUNT),
        np.sort(random.choice(COUNT, 500, replace=False)),
        random.permutation(COUNT)[:200],
        np.array([COUNT - 1]),
        np.array([], np.int64),
    ):
        assert a_mapped.take(rows).equals(expected.take(pa.array(rows)))
    assert a_mapped.column("name").equals(table["name"])


def test_it_lasts_while_it_is_mapped(a_mapped, table, tmp_path):
    (tmp_path / "rows.arrow").unlink()
    assert a_mapped.take(np.array([5]))["x"][0] == table["x"][5]


def test_a_full_disk_leaves_nothing(tmp_path, table, monkeypatch):
    pq.write_table(table, tmp_path / "t.parquet")
    target = tmp_path / "scratch" / "rows.arrow"

    def full(batches, rows):
        yield next(iter(batches))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "_even", full)
    with pytest.raises(StorageFull) as caught:
        rewrite(tmp_path / "t.parquet", target, ["x"])
    assert caught.value.where == {"file": str(target)}
    assert not target.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_arrow_says_that_a_disk_is_full(tmp_path, table):
    with (
        pytest.raises(OSError, match="No space") as caught,
        pa.OSFile("/dev/full", "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    assert caught.value.errno == errno.ENOSPC


def test_a_table_without_rows(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "t.parquet")
    rewrite(tmp_path / "t.parquet", tmp_path / "rows.arrow", ["x"])
    assert Mapped(tmp_path / "rows.arrow", tmp_path / "t.parquet").num_rows == 0
