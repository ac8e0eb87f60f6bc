import copy

import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid_pipelines import optimizers


def a_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def step(network, optimizer):
    torch.manual_seed(1)
    optimizer.zero_grad()
    network(torch.randn(16, 4)).square().mean().backward()
    optimizer.step()


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize(
    "spec",
    [
        kind(weight_decay=0.1)
        for kind in (plan.Sgd, plan.RmsProp, plan.Adagrad, plan.Adam, plan.AdamW)
    ],
    ids=lambda spec: spec.kind,
)
def test_weight_decay_shrinks_matrices_and_leaves_the_gradient_alone(spec):
    with_decay, without = a_network(), a_network()
    step(with_decay, optimizers.build(spec, with_decay))
    step(without, optimizers.build(spec.model_copy(update={"weight_decay": 0.0}), without))
    start = a_network()
    for p, decayed, plain in zip(
        start.parameters(), with_decay.parameters(), without.parameters(), strict=True
    ):
        shrunk = p * spec.lr * 0.1 if p.ndim > 1 else torch.zeros_like(p)
        torch.testing.assert_close(plain - decayed, shrunk, atol=1e-7, rtol=1e-4)


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    network = a_network()
    network.insert(0, nn.Embedding(5, 4))
    optimizer = optimizers.build(plan.Muon(), network)
    muon, adamw = optimizer.parts
    assert isinstance(muon, torch.optim.Muon)
    chosen = {id(p) for group in muon.param_groups for p in group["params"]}
    assert chosen == {id(network[1].weight), id(network[3].weight)}
    assert sum(len(group["params"]) for group in adamw.param_groups) == 5
    rates = {group["initial_lr"] for group in optimizer.param_groups}
    assert rates == {plan.Muon().lr, plan.Muon().adamw_lr}


@pytest.mark.parametrize("spec", [plan.Muon(), plan.Sgd(), plan.Adam()], ids=lambda s: s.kind)
def test_it_goes_on_from_a_saved_state_bit_by_bit(spec):
    one = a_network()
    first = optimizers.build(spec, one)
    for _ in range(3):
        step(one, first)
    two = copy.deepcopy(one)
    second = optimizers.build(spec, two)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for network, optimizer in ((one, first), (two, second)):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * group["initial_lr"]
        step(network, optimizer)
        step(network, optimizer)
    assert torch.equal(weights(one), weights(two))


def test_with_a_layer_decay_each_layer_learns_slower_than_the_next():
    network = a_network()
    optimizer = optimizers.build(plan.Sgd(lr=1.0), network, layer_decay=0.5)
    rate = {id(p): g["initial_lr"] for g in optimizer.param_groups for p in g["params"]}
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    assert [rate[id(layer.weight)] for layer in layers] == [0.25, 0.5, 1.0]
    assert [rate[id(layer.bias)] for layer in layers] == [0.25, 0.5, 1.0]
