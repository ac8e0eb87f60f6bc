import pytest
import torch

from pellucid.jobs.workspace import Request
from pellucid.schema import Schema
from pellucid_pipelines.checkpoints import Checkpoints, fingerprint

CPU = torch.device("cpu")


def test_what_was_saved_comes_back(tmp_path):
    state = {"weights": torch.randn(3), "losses": [0.5, 0.25], "stopped": False}
    Checkpoints(tmp_path, "a").save(state)
    loaded = Checkpoints(tmp_path, "a").load(CPU)
    assert torch.equal(loaded.pop("weights"), state.pop("weights"))
    assert loaded == state
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_none_where_there_is_none(tmp_path):
    assert Checkpoints(tmp_path, "a").load(CPU) is None


def test_that_of_another_plan_is_ignored(tmp_path, caplog):
    Checkpoints(tmp_path, "a").save({})
    assert Checkpoints(tmp_path, "b").load(CPU) is None
    assert "another plan or data set" in caplog.text


@pytest.mark.parametrize("keep", [0, 1, 100, -100])
def test_a_damaged_one_is_ignored(tmp_path, caplog, keep):
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save({"weights": torch.zeros(1000)})
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:keep])
    assert checkpoints.load(CPU) is None
    assert "cannot be read" in caplog.text


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save({"epoch": 1})
    (tmp_path / ".state.pt.123.tmp").write_bytes(b"half")
    assert checkpoints.load(CPU) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_failed_save_keeps_the_last_commit(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save({"epoch": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save({"epoch": 2})
    assert checkpoints.load(CPU) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_the_fingerprint_is_of_plan_and_data_and_not_of_the_attempt():
    def of(**changes):
        values = {"job_id": "j", "attempt": 1, "plan": {"a": 1, "b": 2}, "data_version": "d"}
        values |= {"data_schema": Schema(columns=()), "data_path": "p"} | changes
        return fingerprint(Request(**values))

    assert of() == of(attempt=2, data_path="elsewhere", plan={"b": 2, "a": 1})
    assert len({of(), of(plan={"a": 1}), of(data_version="e")}) == 3
