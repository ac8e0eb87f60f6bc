"""The prediction log: what is written is read again, once, whatever dies in between."""

import errno
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.bundle import Input
from pellucid.errors import InvalidData, InvalidInput
from pellucid.monitoring import ids, layout, segments
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.spools import Folder, Spool
from pellucid.monitoring.writer import sweep
from pellucid.schema import Kind
from support.predictions import a_writer, batch, identities, now, number_at, write

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)


def everything(root: Path, model: str = "credit", **options: Any) -> pa.Table:
    return PredictionLog(root).window(model, START, END, **options).read_all()


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
VALUES = {
    Kind.NUMERIC: st.floats(width=64),
    Kind.BOOLEAN: st.sampled_from([0.0, 1.0, float("nan")]),
    Kind.CATEGORICAL: st.text(st.characters(codec="utf-8"), max_size=5),
    Kind.DATETIME: st.integers(-(2**31), 2**33).map(float) | st.just(float("nan")),
}


@st.composite
def versions(draw: st.DrawFn) -> list[tuple[list[Input], dict[str, Any]]]:
    """Inputs and arrays of a few versions, with columns of their own."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = draw(st.dictionaries(NAMES, st.sampled_from(list(VALUES)), min_size=1, max_size=5))
        rows = draw(st.integers(1, 4))
        arrays = {}
        for name, kind in kinds.items():
            values = draw(st.lists(VALUES[kind], min_size=rows, max_size=rows))
            arrays[name] = np.array(values, object if kind is Kind.CATEGORICAL else float)
        made.append(([Input.of(name, kind) for name, kind in kinds.items()], arrays))
    return made


def recorded(kind: Kind, value: Any) -> Any:
    """What a value of a model's tensor is in the log."""
    if value == "" or (kind is not Kind.CATEGORICAL and np.isnan(value)):
        return None
    if kind is Kind.DATETIME:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    return bool(value) if kind is Kind.BOOLEAN else value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(versions(), st.booleans(), NAMES)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, given_: list[Any], sealed: bool, model: str
) -> None:
    root = tmp_path_factory.mktemp("log")
    writer = a_writer(root)
    expected: dict[Any, dict[str, Any]] = {}
    for version, (inputs, arrays) in enumerate(given_, 1):
        count = len(next(iter(arrays.values())))
        first = now() + version * 100
        rows = batch(first, count, model=model, version=version, inputs=inputs, arrays=arrays)
        write(writer, rows)
        for row, identity in enumerate(identities(rows)):
            values = {each.name: recorded(each.kind, arrays[each.name][row]) for each in inputs}
            expected[identity] = {"version": version, "inputs": values}
    if sealed:
        writer.close()
    log = PredictionLog(root)
    for identity, wanted in expected.items():
        found = log.find(identity)
        assert found is not None
        assert {"version": found.version, "inputs": found.inputs} == wanted
        assert found.model == model
    for version in range(1, len(given_) + 1):
        window = everything(root, model, version=version)
        assert sorted(identities(window)) == sorted(
            identity for identity, wanted in expected.items() if wanted["version"] == version
        )
    if not sealed:
        writer.close()


def test_a_window_unites_versions_and_says_when_it_cannot(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    columns = {1: [("a", Kind.NUMERIC)], 2: [("a", Kind.NUMERIC), ("ü.b", Kind.CATEGORICAL)]}
    columns[3] = [("a", Kind.CATEGORICAL)]
    for version, named in columns.items():
        if version == 3:
            united = everything(tmp_path)
            rows = sorted(united.to_pylist(), key=lambda row: row["version"])
            assert [row["inputs"] for row in rows] == [
                {"a": 1.0, "ü.b": None},
                {"a": 1.0, "ü.b": "x"},
            ]
        inputs = [Input.of(name, kind) for name, kind in named]
        arrays = {
            name: np.array([1.0]) if kind is Kind.NUMERIC else np.array(["x"], object)
            for name, kind in named
        }
        write(writer, batch(now() + version, 1, version=version, inputs=inputs, arrays=arrays))
    with pytest.raises(InvalidData, match="one version at a time"):
        everything(tmp_path)
    assert everything(tmp_path, version=3)["inputs"].to_pylist() == [{"a": "x"}]
    writer.close()


def test_a_window_takes_the_rows_of_its_time_alone(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    moment = datetime(2026, 11, 21, 18, 59, 59, tzinfo=UTC)
    for k in range(4):
        write(writer, batch(number_at(moment.timestamp() + k), 5))
    log = PredictionLog(tmp_path)
    for sealed in (False, True):
        if sealed:
            writer.close()
        reader = log.window("credit", moment + timedelta(seconds=1), moment + timedelta(seconds=3))
        rows = reader.read_all()
        assert len(rows) == 10
        assert {each.second for each in rows["time"].to_pylist()} == {0, 1}
    hours = sorted(path.name for path in (tmp_path / "model=credit").iterdir())
    assert hours == ["hour=2026-11-21T18", "hour=2026-11-21T19"]
    assert len(log.window("credit", moment - timedelta(days=2), moment).read_all()) == 0
    assert len(everything(tmp_path, "another")) == 0


def test_duckdb_reads_windows_and_segments(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    write(writer, batch(now(), 100))
    recent = PredictionLog(tmp_path).window("credit", START, END, columns=["inputs"])
    with duckdb.connect() as connection:
        assert connection.from_arrow(recent).aggregate(
            "sum(inputs.amount), count(*)"
        ).fetchall() == [(4950.0, 100)]
        writer.close()
        sealed = connection.read_parquet(f"{tmp_path}/model=*/*/*.parquet")
        assert sealed.aggregate("sum(inputs.amount), count(*)").fetchall() == [(4950.0, 100)]


def test_a_torn_spool_loses_its_torn_batch_alone(tmp_path: Path) -> None:
    whole, torn = batch(now(), 10), batch(now() + 100, 10)
    spool = Spool(tmp_path / "x.arrow", whole.schema)
    spool.append(whole)
    end = spool.bytes
    spool.append(torn)
    spool.close()
    content = spool.path.read_bytes()
    for length in (*range(end, len(content), 37), len(content) - 1):
        spool.path.write_bytes(content[:length])
        segment = tmp_path / f"{length}.parquet"
        segments.seal(spool.path, segment)
        rows = pa.parquet.read_table(segment)
        assert identities(rows) == identities(whole), length
    spool.path.write_bytes(content[:20])  # not even the columns are there
    segments.seal(spool.path, tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def dead_process(root: Path, *batches: pa.RecordBatch) -> Folder:
    """The spools of a process, which is dead once the folder's lock is let go."""
    folder = Folder.create(root)
    for each in batches:
        hour, _ = divmod(identities(each)[0].int >> 80, ids.HOUR_MS)
        path = folder.path / layout.partition("credit", hour)
        spool = Spool(path / f"{identities(each)[0]}.arrow", each.schema)
        spool.append(each)
        spool.close()
    return folder


def test_spools_of_the_dead_are_recovered_and_those_of_the_living_left(tmp_path: Path) -> None:
    dead, alive = batch(now(), 10), batch(now() + 100, 10)
    os.close(dead_process(tmp_path, dead)._lock)
    living = dead_process(tmp_path, alive)
    before = sorted(identities(everything(tmp_path)))
    a_writer(tmp_path).close()  # recovery is done when it is closed
    assert not list(Folder.abandoned(tmp_path))
    assert len(list(tmp_path.glob("model=*/*/*.parquet"))) == 1
    assert living.spools()
    assert sorted(identities(everything(tmp_path))) == before
    assert len(before) == 20
    os.close(living._lock)


def test_recovery_that_was_cut_short_doubles_nothing(tmp_path: Path) -> None:
    """Killed after the segment was put in its place, before the spool was removed."""
    rows = batch(now(), 10)
    folder = dead_process(tmp_path, rows)
    (spool,) = folder.spools()
    content = spool.read_bytes()
    segments.seal(spool, layout.segment_of(spool, tmp_path))
    spool.write_bytes(content)
    os.close(folder._lock)
    assert sorted(identities(everything(tmp_path))) == identities(rows)
    a_writer(tmp_path).close()
    assert sorted(identities(everything(tmp_path))) == identities(rows)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".parquet"]


def test_spools_become_segments_when_full_or_old(tmp_path: Path) -> None:
    writer, first = a_writer(tmp_path, segment_rows=25), now()
    for k in range(6):
        write(writer, batch(first + 100 * k, 10))
        writer.roll()
    writer._sealer.submit(lambda: None).result()
    assert len(list(tmp_path.glob("model=*/*/*.parquet"))) == 2
    writer.close()
    old = a_writer(tmp_path / "old", segment_seconds=0.0)
    write(old, batch(now(), 10))
    old.roll()
    old._sealer.submit(lambda: None).result()
    assert len(list((tmp_path / "old").glob("model=*/*/*.parquet"))) == 1
    old.close()


def test_a_full_disk_leaves_a_spool_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = a_writer(tmp_path)
    kept = [batch(now(), 10), batch(now() + 200, 10)]
    write(writer, kept[0])
    real = os.write

    def full(file: int, data: Any) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            write(writer, batch(now() + 100, 10))
    write(writer, kept[1])
    writer.close()
    expected = sorted(each for rows in kept for each in identities(rows))
    assert sorted(identities(everything(tmp_path))) == expected


def test_what_cannot_be_sealed_is_sealed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = a_writer(tmp_path, segment_rows=1)
    write(writer, batch(now(), 10))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(segments, "_sync", full)
        writer.roll()
        writer._sealer.submit(lambda: None).result()
        assert len(everything(tmp_path)) == 10
        assert not list(tmp_path.glob("model=*/*/*.parquet"))
    writer.close()
    assert len(list(tmp_path.glob("model=*/*/*.parquet"))) == 1
    assert len(everything(tmp_path)) == 10


def test_a_disk_that_cannot_be_read_costs_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failing disk does not give is not taken for the end of a spool."""
    writer = a_writer(tmp_path)
    write(writer, batch(now(), 3))
    (spool,) = tmp_path.rglob("*.arrow")
    segment = layout.segment_of(spool, tmp_path)

    def failing(source: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(pa.ipc, "open_stream", failing)
        with pytest.raises(OSError, match="Input/output"):
            segments.seal(spool, segment)
    assert spool.exists()
    assert not segment.exists()
    writer.close()
    assert len(everything(tmp_path)) == 3


def test_a_segment_that_is_removed_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = a_writer(tmp_path)
    write(writer, batch(now(), 3))
    writer.close()
    read = pq.read_schema

    def late(path: Path) -> pa.Schema:
        path.unlink()
        return read(path)

    monkeypatch.setattr(pq, "read_schema", late)
    assert len(everything(tmp_path)) == 0


def test_old_hours_are_removed(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    today = datetime(2026, 11, 21, 18, 30, tzinfo=UTC).timestamp()
    for days in (0, 1, 2, 3):
        write(writer, batch(number_at(today - 86400 * days), 5))
    writer.close()
    sweep(tmp_path, int(today // 3600) - 48)
    left = sorted(path.name for path in (tmp_path / "model=credit").iterdir())
    assert left == ["hour=2026-11-19T18", "hour=2026-11-20T18", "hour=2026-11-21T18"]


def test_a_version_of_the_same_number_with_other_columns_gets_a_spool_of_its_own(
    tmp_path: Path,
) -> None:
    writer = a_writer(tmp_path)
    write(writer, batch(now(), 5))
    other = batch(
        now() + 100, 5, inputs=[Input.of("age", Kind.NUMERIC)], arrays={"age": np.ones(5)}
    )
    write(writer, other)
    assert len(everything(tmp_path)) == 10
    writer.close()
    assert len(everything(tmp_path)) == 10


def test_readers_miss_and_double_nothing_while_segments_are_sealed(tmp_path: Path) -> None:
    writer = a_writer(tmp_path, segment_rows=1)  # each batch is sealed at once
    written: list[Any] = []
    stop = threading.Event()

    def keep_writing() -> None:
        first = now()
        while not stop.is_set() and len(written) < 3000:
            rows = batch(first + len(written), 3)
            write(writer, rows)
            written.extend(identities(rows))
            writer.roll()

    thread = threading.Thread(target=keep_writing)
    thread.start()
    for _ in range(20):
        known = set(written)
        seen = identities(everything(tmp_path))
        assert len(seen) == len(set(seen))
        assert known <= set(seen)
        if written:
            latest = written[-1]
            assert PredictionLog(tmp_path).find(latest) is not None
    stop.set()
    thread.join()
    writer.close()
    assert sorted(identities(everything(tmp_path))) == written


@pytest.mark.parametrize("model", ["a/b", "..", "%", "é" * 250, "x=y", " "])
def test_any_name_of_a_model_is_one_directory(tmp_path: Path, model: str) -> None:
    writer = a_writer(tmp_path)
    write(writer, batch(now(), 1, model=model))
    writer.close()
    (path,) = tmp_path.rglob("*.parquet")
    assert len(path.relative_to(tmp_path).parts) == 3
    assert everything(tmp_path, model)["model"].to_pylist() == [model]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0190f8f2-7bbd-4cbb-8f7e-000000000000",
        "ffffffff-ffff-7fff-8f7e-000000000000",  # of the year 10889
        "x" * 900,
    ],
)
def test_only_uuids_of_version_7_are_ids(text: str) -> None:
    with pytest.raises(InvalidInput, match="no prediction's id"):
        ids.parse(text)
