"""Spools survive torn writes; files are replaced whole."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import TrainingFailed
from pellucid.jobs.workspace import Spool, Workspace, read_spool, write_atomically

ENTRIES = st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=8)


def write(path: Path, *entries: dict[str, object]) -> None:
    spool = Spool(path)
    spool.append(*entries)
    spool.close()


@given(ENTRIES, ENTRIES, st.integers(min_value=1, max_value=8))
def test_a_torn_tail_costs_only_its_own_line(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[dict[str, object]],
    after: list[dict[str, object]],
    kept: int,
) -> None:
    path = tmp_path_factory.mktemp("spool") / "s.jsonl"
    write(path, *before)
    with path.open("ab") as file:
        file.write(b'{"torn": 1}'[:kept])
    write(path, *after)
    assert [entry for _, entry in read_spool(path)] == before + after


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    write(tmp_path / "s", {"n": 1}, {"n": 2})
    first = list(read_spool(tmp_path / "s"))
    write(tmp_path / "s", {"n": 3})
    assert [e["n"] for _, e in read_spool(tmp_path / "s", first[-1][0])] == [3]
    assert list(read_spool(tmp_path / "none")) == []


def test_an_unfinished_line_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b'{"n": 1}\n{"n"')
    assert [e for _, e in read_spool(tmp_path / "s")] == [{"n": 1}]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_an_earlier_attempt_is_forgotten(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.write_error(TrainingFailed("The loss is NaN.", remedy="Lower lr."))
    error = workspace.read_error()
    assert error is not None
    assert error["message"] == "The loss is NaN."
    assert workspace.read_result() is None
    workspace.write_result({"metrics": {"accuracy": 1.0}})
    assert workspace.read_result() == {"metrics": {"accuracy": 1.0}}
