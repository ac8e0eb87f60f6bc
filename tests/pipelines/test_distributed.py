"""Two processes that train together end where one ends alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pellucid.errors import InvalidPlan
from pellucid_pipelines.distributed import World
from pellucid_pipelines.loop import Fit
from support import together
from support.training import a_fit, a_plan, toy_rows

PARTS = {"model": {"dropout": 0.0, "norm": "layer"}, "regularization": {"ema": 0.9, "l2": 1e-3}}


def train_together(directory: Path, parts: dict) -> list[dict]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [together.__file__, str(directory), json.dumps(parts)]
    paths = {"PYTHONPATH": str(Path(together.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(directory / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_both_have_the_same_weights_and_those_of_one_alone(tmp_path):
    first, second = train_together(tmp_path, PARTS)
    alone = a_fit(a_plan(**PARTS))
    state = alone.run()
    assert first["losses"] == pytest.approx(state.losses, abs=1e-5)
    for name, value in alone.network.state_dict().items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        torch.testing.assert_close(first["weights"][name], value, atol=1e-5, rtol=1e-4)


def test_the_shares_of_a_batch_are_all_of_its_rows():
    rows = toy_rows(10)
    parts = [World(rank, 3).share(rows) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 3, 3]
    assert torch.equal(torch.cat([part.inputs for part in parts]), rows.inputs)
    assert World().share(rows) is rows


def test_a_batch_smaller_than_the_world_is_refused():
    fit = a_fit(a_plan())
    with pytest.raises(InvalidPlan) as caught:
        Fit(
            fit.network, fit.loss, toy_rows(3), fit.validation, fit.spec,
            device=fit.device, world=World(0, 4),
        )  # fmt: skip
    assert caught.value.where == {"path": "training.batch_size"}
