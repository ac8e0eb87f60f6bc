import os
import subprocess

import psutil
import pytest
import torch
from torch import nn

from pellucid.errors import DeviceUnavailable
from pellucid_pipelines import environment

CPU = torch.device("cpu")


def git(*arguments, at):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=at, check=True, capture_output=True)


def test_the_commit_of_the_repository_that_tracks_the_file(tmp_path):
    file = tmp_path / "code.py"
    file.write_text("1")
    assert environment.git_state(file) == {}
    git("init", at=tmp_path)
    assert environment.git_state(file) == {}, "not tracked: installed inside somebody's repository"
    git("add", "code.py", at=tmp_path)
    git("commit", "-m", "one", at=tmp_path)
    clean = environment.git_state(file)
    assert len(clean["git_commit"]) == 40
    assert clean["git_dirty"] == "false"
    file.write_text("2")
    assert environment.git_state(file) == {**clean, "git_dirty": "true"}


def test_tags_name_device_seed_and_versions():
    tags = environment.tags(CPU, seed=7)
    assert (tags["device"], tags["seed"]) == ("cpu", "7")
    assert tags["version.torch"] == torch.__version__
    assert {"version.python", "version.shap", "version.onnx", "cpu"} <= set(tags)
    assert all(isinstance(value, str) and value for value in tags.values())


def test_the_frozen_environment_lists_what_is_installed():
    lines = environment.frozen().splitlines()
    assert f"torch=={torch.__version__}" in lines
    assert lines == sorted(lines, key=str.lower)


def test_cuda_that_is_not_there_is_an_error_and_auto_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.choose_device("auto") == environment.choose_device("cpu") == CPU
    with pytest.raises(DeviceUnavailable) as caught:
        environment.choose_device("cuda")
    assert caught.value.where == {"path": "training.device"}


def test_threads(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment.limit_threads(work=1000)
    environment.limit_threads(work=10**9)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment.limit_threads(work=10**9)
    assert chosen == [1, 2]


def test_multiply_adds_count_every_place_of_a_convolution():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3 * 4 * 5, 7))
    found = environment.multiply_adds(network, torch.zeros(1, 2, 6, 7))
    assert found == 3 * 4 * 5 * 2 * 9 + 60 * 7
    assert network.training
    assert environment.multiply_adds(network, None) == sum(p.numel() for p in network.parameters())
