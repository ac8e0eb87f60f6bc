"""Every kind that a plan can name has a builder, and every builder a kind."""

from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid.datasets.splits import split_rows
from pellucid_pipelines import (
    architectures,
    initialization,
    losses,
    mitigation,
    optimizers,
    schedules,
)
from pellucid_pipelines.features import Features
from pellucid_pipelines.initialization import initialize
from pellucid_pipelines.layers import activations
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target
from support.training import a_plan


def kinds(union):
    """The members of a tagged union; a union of one is the class itself."""
    if get_origin(union) is Annotated:
        union = get_args(union)[0]
    return set(get_args(union)) if isinstance(union, UnionType) else {union}


@pytest.mark.parametrize(
    ("union", "builders"),
    [
        (plan.Model, architectures.BUILDERS),
        (plan.Optimizer, optimizers.BUILDERS),
        (plan.Schedule, schedules.BUILDERS),
        (plan.Loss, losses.BUILDERS),
        (plan.Mitigation, mitigation.OBJECTIVES),
    ],
    ids=["model", "optimizer", "schedule", "loss", "mitigation"],
)
def test_kinds_and_builders_are_the_same_set(union, builders):
    assert kinds(union) == set(builders)


def test_so_are_initializations_and_activations():
    assert set(get_args(plan.Initialization)) == set(initialization.BUILDERS)
    assert set(get_args(plan.Activation)) == set(activations.ACTIVATIONS)


@pytest.mark.parametrize("kind", [plan.Perceptron, plan.Mlp])
def test_no_activation_is_used_twice(kind):
    """DeepSHAP attributes module by module; see `attribution`."""
    network = architectures.build(kind(), Features.tabular(5), 2).eval()
    calls: dict[str, int] = {}
    for name, module in network.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1})
            )
    network(torch.randn(4, 5))
    assert set(calls.values()) == {1}


def learnt(target: Target, **parts: Any) -> tuple[float, float]:
    """The training loss before and after 30 epochs under a plan with these parts."""
    quick = {"training": {"epochs": 30}, "optimizer": {"kind": "adamw", "lr": 0.02}}
    whole = a_plan(**(quick | parts))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 5, generator=generator)
    hidden = inputs[:, 0] - inputs[:, 1]
    targets = hidden if target.task == "regression" else (hidden > 0).float()
    if target.task == "classification" and target.positive is None:
        targets = torch.bucketize(hidden, torch.tensor([-0.7, 0.7]))
    rows = Rows(inputs, targets)
    torch.manual_seed(0)
    network = architectures.build(
        plan.Mlp(widths=(8, 8), dropout=0), Features.tabular(5), target.outputs
    )
    initialize(network, whole.initialization, inputs)
    loss = losses.build(whole.loss or plan.Mse(), target)
    fit = Fit(network, loss, rows, rows, whole, device=torch.device("cpu"))
    before = fit.validate()["validation/loss"]
    fit.run()
    return before, fit.state.losses[-1]


NUMBER = Target("y", "regression")
TARGETS = {
    "binary": Target("y", "classification", (0, 1), (0, 1), positive=1),
    "multiclass": Target("y", "classification", (0, 1, 2), (0, 1, 2)),
    "regression": NUMBER,
}
CLASSIFYING = (plan.CrossEntropy, plan.Focal)
LOSSES = [
    (kind, task)
    for kind in sorted(losses.BUILDERS, key=lambda kind: kind.__name__)
    for task in TARGETS
    if (kind in CLASSIFYING) == (task != "regression")
]


@pytest.mark.parametrize(("kind", "task"), LOSSES)
def test_every_loss_is_lowered(kind, task):
    before, after = learnt(TARGETS[task], loss=kind().model_dump())
    assert after < 0.8 * before


@pytest.mark.parametrize("kind", sorted(optimizers.BUILDERS, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("schedule", sorted(schedules.BUILDERS, key=lambda kind: kind.__name__))
def test_every_optimizer_under_every_schedule_lowers_the_loss(kind, schedule):
    before, after = learnt(NUMBER, optimizer=kind().model_dump(), schedule=schedule().model_dump())
    assert after < before


@pytest.mark.parametrize("name", get_args(plan.Initialization))
def test_every_initialization_lowers_the_loss(name):
    before, after = learnt(NUMBER, initialization=name)
    assert after < 0.8 * before


@pytest.mark.parametrize(
    "part",
    [{"l1": 1e-3}, {"l2": 1e-2}, {"ema": 0.9}, {"mixup": 0.2}],
    ids=lambda part: next(iter(part)),
)
def test_every_regularization_lets_it_learn(part):
    assert set(plan.Regularization.model_fields) == {"l1", "l2", "ema", "mixup"}
    before, after = learnt(NUMBER, regularization=part)
    assert after < 0.8 * before


@pytest.mark.parametrize("kind", sorted(optimizers.BUILDERS, key=lambda kind: kind.__name__))
def test_an_optimizer_lowers_a_loss_and_decays_matrices_only(kind):
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    spec = kind(weight_decay=0.5)
    optimizer = optimizers.build(spec, network)
    decays = {
        p.ndim: g.get("decoupled_decay", g["weight_decay"])
        for g in optimizer.param_groups
        for p in g["params"]
    }
    assert decays == {2: 0.5, 1: 0.0}
    inputs, truth = torch.randn(64, 3), torch.ones(64, 1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (network(inputs) - truth).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("activation", plan.Mlp.model_fields["activation"].annotation.__args__)
@pytest.mark.parametrize("norm", plan.Mlp.model_fields["norm"].annotation.__args__)
def test_every_choice_of_the_mlp_builds(activation, norm):
    spec = plan.Mlp(widths=(4, 3), activation=activation, norm=norm, dropout=0.0)
    assert architectures.build(spec, Features.tabular(5), 2)(torch.randn(6, 5)).shape == (6, 2)


@pytest.mark.parametrize("kind", sorted(kinds(plan.Split), key=lambda kind: kind.__name__))
def test_every_split_deals_out_every_row(kind):
    rows = 60
    table = pa.table({"g": [i % 20 for i in range(rows)], "y": [i % 2 for i in range(rows)]})
    spec = kind(column="g") if "column" in kind.model_fields else kind()
    parts = split_rows(table, spec, target="y", task="classification", seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
