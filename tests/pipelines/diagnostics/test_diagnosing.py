"""The callback: what it tells, what it leaves alone, and what outlives a kill."""

import math

import pytest
import torch
from torch import nn

from pellucid.errors import TrainingFailed
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.diagnosing import Diagnosing
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.features import Features
from pellucid_pipelines.tensors import Target
from support.training import WIDTH, a_fit, a_plan, toy_rows

TARGET = Target("y", "classification", (0, 1), (0, 1), 1)


class Heard:
    """Stands for the journal."""

    def __init__(self):
        self.findings, self.points = [], {}

    def event(self, kind, **data):
        assert kind == "finding"
        self.findings.append(data)

    def metrics(self, values, step):
        self.points |= {(key, step): value for key, value in values.items()}


class Killed(BaseException):
    pass


class KillAfter(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def epoch_ended(self, fit, metrics):
        if fit.state.epoch == self.epoch:
            raise Killed


def watched(heard):
    return Diagnosing(heard, Features.tabular(WIDTH), TARGET)


def weights_of(fit):
    return torch.cat([value.flatten() for value in fit.network.state_dict().values()])


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_watching_changes_no_bit_of_the_weights(norm):
    spec = a_plan(model={"norm": norm})
    alone, seen = a_fit(spec), a_fit(spec, [watched(Heard())])
    alone.run()
    seen.run()
    assert torch.equal(weights_of(alone), weights_of(seen))


def test_a_healthy_fit_gives_numbers_of_each_layer_and_no_finding():
    heard = Heard()
    a_fit(a_plan(training={"epochs": 12}), [watched(heard)]).run()
    assert not heard.findings
    keys = {key for key, _ in heard.points}
    assert "diagnostics/layers.1/zero_share" in keys
    for what in ("gradient_norm", "weight_norm", "update_ratio"):
        assert f"diagnostics/layers.0/{what}" in keys
    assert all(math.isfinite(value) for value in heard.points.values())
    ratios = [v for (key, _), v in heard.points.items() if key.endswith("update_ratio")]
    assert all(0 < ratio < 0.2 for ratio in ratios)


def test_the_numbers_are_those_of_the_step():
    """The first sampled step against the same step done by hand."""
    heard = Heard()
    rows = toy_rows(32)
    spec = a_plan(
        model={"dropout": 0.0},
        training={"epochs": 1, "clip_norm": None},
        optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False},
        schedule={"kind": "constant"},
    )
    fit = a_fit(spec, [watched(heard)], train=rows)
    first = fit.network.layers[0]
    before = first.weight.detach().clone()
    loss = fit.batch_loss(rows)
    gradient = torch.autograd.grad(loss, first.weight)[0]
    outputs = torch.relu(first(rows.inputs)).detach()
    fit.callbacks[1].fit_started(fit)
    fit.run_epoch()
    told = {key.removeprefix("diagnostics/"): v for (key, _), v in heard.points.items()}
    assert told["layers.0/gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert told["layers.0/weight_norm"] == pytest.approx(before.norm().item(), rel=1e-5)
    ratio = 0.1 * gradient.norm() / max(before.norm(), 0.5 * math.sqrt(8))
    assert told["layers.0/update_ratio"] == pytest.approx(ratio.item(), rel=1e-3)
    assert told["layers.1/mean"] == pytest.approx(outputs.mean().item(), rel=1e-5)
    assert told["layers.1/std"] == pytest.approx(outputs.std(correction=0).item(), rel=1e-5)
    assert told["layers.1/zero_share"] == pytest.approx((outputs == 0).float().mean().item())


def test_hooks_are_gone_after_a_sampled_step():
    fit = a_fit(a_plan(), [watched(Heard())])
    fit.run()
    assert not any(module._forward_hooks for module in fit.network.modules())


def test_what_is_known_outlives_a_kill_and_is_told_once(tmp_path):
    spec = a_plan(training={"epochs": 8}, optimizer={"kind": "adamw", "lr": 0.5})
    whole, first, second = Heard(), Heard(), Heard()
    undisturbed = a_fit(spec, [watched(whole)])
    undisturbed.run()
    checkpointing = Checkpointing(Checkpoints(tmp_path, "print"), 0)
    with pytest.raises(Killed):
        a_fit(spec, [watched(first), checkpointing, KillAfter(4)]).run()
    resumed = a_fit(spec, [watched(second), checkpointing])
    resumed.run()
    codes = [f["code"] for f in [*first.findings, *second.findings]]
    assert codes == [f["code"] for f in whole.findings]
    assert codes
    assert resumed.state.memory == undisturbed.state.memory
    assert first.points | second.points == whole.points


@pytest.mark.parametrize("layer", [0, 3, 6])
def test_the_error_names_the_layer_where_it_began(layer):
    heard = Heard()
    fit = a_fit(a_plan(training={"clip_norm": None}), [watched(heard)])
    linear = [m for m in fit.network.modules() if isinstance(m, nn.Linear)][layer // 3]
    name = next(n for n, m in fit.network.named_modules() if m is linear)
    assert name == f"layers.{layer}"

    def poison(module, given, output):
        return output / 0.0 if module.training else output

    linear.register_forward_hook(poison)
    with pytest.raises(TrainingFailed, match="began in the output of") as caught:
        fit.run()
    assert caught.value.where == {"epoch": 1, "step": 1, "layer": name}
    assert [f["code"] for f in heard.findings] == ["not_finite"]
    assert heard.findings[0]["layer"] == name


def test_the_error_names_bad_inputs():
    rows = toy_rows(100)
    rows.inputs[17] = float("nan")
    with pytest.raises(TrainingFailed, match="inputs of the batch") as caught:
        a_fit(a_plan(), [watched(Heard())], train=rows).run()
    assert "layer" not in caught.value.where


def test_a_validation_loss_that_is_not_finite_is_traced_too():
    fit = a_fit(a_plan(), [watched(Heard())])
    first = fit.network.layers[0]
    first.register_forward_hook(
        lambda module, _given, output: output if module.training else output * float("nan")
    )
    with pytest.raises(TrainingFailed, match="validation loss") as caught:
        fit.run()
    assert caught.value.where["epoch"] == 1
