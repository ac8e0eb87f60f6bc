"""Every kind that a plan can name has a builder, and every builder a kind."""

from types import UnionType
from typing import Annotated, get_args, get_origin

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid.datasets.splits import split_rows
from pellucid_pipelines import architectures, optimizers, schedules
from pellucid_pipelines.features import Features


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
    ],
    ids=["model", "optimizer", "schedule"],
)
def test_kinds_and_builders_are_the_same_set(union, builders):
    assert kinds(union) == set(builders)


@pytest.mark.parametrize("kind", sorted(architectures.BUILDERS, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("outputs", [1, 3])
def test_an_architecture_keeps_its_contract(kind, outputs):
    torch.manual_seed(0)
    network = architectures.build(kind(), Features.tabular(5), outputs).eval()
    inputs = torch.randn(7, 5)
    raw = network(inputs)
    assert raw.shape == (7, outputs)
    assert raw.dtype == torch.float32
    assert torch.equal(network(inputs), raw), "evaluation must be deterministic"
    torch.testing.assert_close(network(inputs[:1]), raw[:1])
    raw.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("kind", sorted(architectures.BUILDERS, key=lambda kind: kind.__name__))
def test_no_activation_is_used_twice(kind):
    network = architectures.build(kind(), Features.tabular(5), 2).eval()
    calls: dict[str, int] = {}
    for name, module in network.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1})
            )
    network(torch.randn(4, 5))
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("kind", sorted(optimizers.BUILDERS, key=lambda kind: kind.__name__))
def test_an_optimizer_lowers_a_loss_and_decays_matrices_only(kind):
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    spec = kind(weight_decay=0.5)
    optimizer = optimizers.build(spec, network)
    decays = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
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
