"""The second, short fit over all rows."""

import pytest
import torch

from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.refitting import refit
from support.training import a_fit, a_plan, toy_rows

ALL = toy_rows(210, seed=2)


class Killed(BaseException):
    """Stands for the end of the process."""


class Weights(Callback):
    """Keeps the learning rate of every step, and may end one."""

    def __init__(self, dies_at=None):
        self.lrs, self.dies_at = [], dies_at

    def step_ended(self, fit, step, trace):
        self.lrs.append(fit.lr)
        if len(self.lrs) == self.dies_at:
            raise Killed


def fitted(share=0.5, ema=0.9):
    spec = a_plan(training={"refit": share}, regularization={"ema": ema})
    fit = a_fit(spec)
    fit.run()
    return fit


def weights(fit):
    return torch.cat([each.flatten() for each in fit.network.state_dict().values()])


def test_it_changes_the_best_weights_the_same_way_every_time(tmp_path):
    before, one, two = fitted(), fitted(), fitted()
    refit(one, ALL, Checkpoints(tmp_path / "one", "print"))
    refit(two, ALL, Checkpoints(tmp_path / "two", "print"))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(before))
    assert one.state.epoch == before.state.epoch, "the first fit's report stays what it was"


def test_it_is_as_long_as_asked_and_ends_at_no_learning_rate(tmp_path, monkeypatch):
    heard = Weights()
    monkeypatch.setattr(Checkpointing, "step_ended", lambda _, *details: heard.step_ended(*details))
    fit = fitted()
    steps = len(heard.lrs)
    refit(fit, ALL, Checkpoints(tmp_path, "print"))
    epochs = max(1, round(0.5 * fit.state.best_epoch))
    assert len(heard.lrs) - steps == epochs * ALL.steps(32)
    assert heard.lrs[-1] < 0.05 * max(heard.lrs[steps:])


def test_it_goes_on_where_it_was_killed_bit_by_bit(tmp_path, monkeypatch):
    undisturbed = fitted(share=1.0)
    refit(undisturbed, ALL, Checkpoints(tmp_path / "undisturbed", "print"))

    checkpoints = Checkpoints(tmp_path / "killed", "print")
    dies = Weights(dies_at=2 * ALL.steps(32) + 3)
    first = fitted(share=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpointing, "step_ended", lambda _, *details: dies.step_ended(*details))
        with pytest.raises(Killed):
            refit(first, ALL, checkpoints)
    again = fitted(share=1.0)
    refit(again, ALL, checkpoints)
    assert torch.equal(weights(again), weights(undisturbed))
