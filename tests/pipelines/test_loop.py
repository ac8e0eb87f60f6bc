import copy

import pytest
import torch

from pellucid.errors import InvalidPlan, TrainingFailed
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.loop import predict
from pellucid_pipelines.rows import Rows
from support.training import a_fit, a_plan, toy_rows


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAfter(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def epoch_ended(self, fit, metrics):
        if fit.state.epoch == self.epoch:
            raise Killed


class Curves(Callback):
    def __init__(self):
        self.epochs = []

    def epoch_ended(self, fit, metrics):
        self.epochs.append(metrics)


def weights_of(fit):
    return torch.cat([value.flatten() for value in fit.network.state_dict().values()])


def test_it_learns():
    curves = Curves()
    a_fit(a_plan(training={"epochs": 40}, optimizer={"kind": "adamw", "lr": 0.01}), [curves]).run()
    first, last = curves.epochs[0], curves.epochs[-1]
    assert last["validation/loss"] < 0.45 < first["validation/loss"]
    assert set(last) == {"train/loss", "validation/loss", "lr", "gradient_norm"}


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    spec = a_plan()
    one, two, other = a_fit(spec), a_fit(spec), a_fit(a_plan(training={"seed": 1}))
    for fit in (one, two, other):
        fit.run()
    assert torch.equal(weights_of(one), weights_of(two))
    assert not torch.equal(weights_of(one), weights_of(other))


@pytest.mark.parametrize("killed_after", [1, 3, 5])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"schedule": {"kind": "plateau", "patience": 1}, "optimizer": {"kind": "sgd", "lr": 0.5}},
        {"schedule": {"kind": "one_cycle"}, "model": {"norm": "batch"}},
        {"training": {"precision": "bf16"}},
        {"training": {"precision": "fp16"}},
    ],
    ids=["default", "plateau+sgd", "one_cycle+batchnorm", "bf16", "fp16"],
)
def test_a_resumed_run_ends_in_the_very_same_weights(tmp_path, parts, killed_after):
    spec = a_plan(**parts)
    undisturbed = a_fit(spec)
    undisturbed.run()

    def attempt(*callbacks):
        return a_fit(spec, [*callbacks, Checkpointing(Checkpoints(tmp_path, "print"), 0)])

    # Killed before its checkpoint: the epoch is lost and repeated.
    with pytest.raises(Killed):
        attempt(KillAfter(killed_after)).run()
    resumed = attempt()
    resumed.run()
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    assert resumed.state.losses == undisturbed.state.losses
    assert resumed.state.best_epoch == undisturbed.state.best_epoch


def test_a_finished_run_is_not_trained_again(tmp_path):
    spec = a_plan()
    first = a_fit(spec, [Checkpointing(Checkpoints(tmp_path, "print"), 1e9)])
    first.run()
    curves = Curves()
    again = a_fit(spec, [curves, Checkpointing(Checkpoints(tmp_path, "print"), 1e9)])
    again.run()
    assert not curves.epochs
    assert torch.equal(weights_of(again), weights_of(first))


def test_early_stopping_restores_the_best_weights():
    best = {}

    class Remember(Callback):
        def epoch_ended(self, fit, metrics):
            if fit.state.best_epoch == fit.state.epoch:
                best.update(copy.deepcopy(fit.network.state_dict()))

    spec = a_plan(
        training={"epochs": 500, "patience": 3},
        optimizer={"kind": "adamw", "lr": 0.05},
        schedule={"kind": "constant"},
    )
    fit = a_fit(spec, [Remember()], train=toy_rows(40))
    state = fit.run()
    assert state.stopped
    assert state.epoch == state.best_epoch + 3 < 500
    assert state.best_loss == min(state.losses)
    for name, value in fit.network.state_dict().items():
        assert torch.equal(value, best[name])


def test_min_delta_asks_for_more_than_a_hair():
    spec = a_plan(training={"epochs": 50, "patience": 2, "min_delta": 10.0})
    state = a_fit(spec).run()
    assert (state.best_epoch, state.epoch) == (1, 3)


def test_the_gradient_is_clipped_and_the_norm_before_is_reported():
    spec = a_plan(
        training={"clip_norm": 0.01},
        optimizer={"kind": "sgd", "lr": 1.0, "momentum": 0.0},
        schedule={"kind": "constant"},
    )
    fit = a_fit(spec)
    before = weights_of(fit)
    _, norm = fit.train_step(fit.train)
    assert norm > 0.01
    assert (weights_of(fit) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_weighted_rows_train_like_repeated_ones():
    rows = toy_rows(64)
    twice = Rows(
        torch.cat([rows.inputs, rows.inputs[:8]]), torch.cat([rows.targets, rows.targets[:8]])
    )
    weights = torch.ones(64)
    weights[:8] = 2
    weighted = Rows(rows.inputs, rows.targets, weights / weights.mean())
    spec = a_plan(
        model={"dropout": 0.0}, training={"batch_size": 1000}, optimizer={"kind": "sgd", "lr": 0.1}
    )
    one, two = a_fit(spec, train=twice), a_fit(spec, train=weighted)
    one.run()
    two.run()
    torch.testing.assert_close(weights_of(one), weights_of(two), rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_names_epoch_step_and_remedy():
    rows = toy_rows(100)
    rows.inputs[17] = float("nan")
    with pytest.raises(
        TrainingFailed, match=r"training loss became nan in epoch 1, step"
    ) as caught:
        a_fit(a_plan(), train=rows).run()
    assert caught.value.where["epoch"] == 1
    assert 1 <= caught.value.where["step"] <= 4
    assert "optimizer.lr" in caught.value.remedy


def test_batch_norm_with_a_single_row_in_a_batch_is_refused():
    with pytest.raises(InvalidPlan) as caught:
        a_fit(a_plan(model={"norm": "batch"}, training={"batch_size": 1}))
    assert caught.value.where == {"path": "training.batch_size"}


def test_prediction_does_not_depend_on_chunks(monkeypatch):
    fit = a_fit(a_plan(model={"norm": "batch"}))
    whole = predict(fit.network, fit.train.inputs)
    monkeypatch.setattr("pellucid_pipelines.loop._CHUNK", 7)
    torch.testing.assert_close(predict(fit.network, fit.train.inputs), whole)
