import copy

import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.loop import predict
from pellucid_pipelines.regularization import Average, Penalties, mixed
from pellucid_pipelines.rows import Rows
from support.training import a_fit, a_plan


def test_penalties_add_the_gradient_that_autograd_finds():
    torch.manual_seed(0)
    network = nn.Linear(3, 2).double()
    network.weight.square().sum().backward()
    Penalties(plan.Regularization(l1=0.3, l2=0.7), network).add_gradients()
    given = network.weight.grad.clone()
    network.zero_grad()
    w = network.weight
    (w.square().sum() + 0.3 * w.abs().sum() + 0.7 * w.square().sum() / 2).backward()
    torch.testing.assert_close(given, network.weight.grad)
    assert network.bias.grad is None


def test_l1_drives_weights_towards_zero():
    plain = a_fit(a_plan(training={"epochs": 30}))
    sparse = a_fit(a_plan(training={"epochs": 30}, regularization={"l1": 0.02}))
    small = []
    for fit in (plain, sparse):
        fit.run()
        weights = torch.cat([p.detach().flatten() for p in fit.network.parameters() if p.ndim > 1])
        small.append((weights.abs() < 0.02).float().mean())
    assert small[1] > 2 * small[0]


def test_the_average_is_the_recursion_and_takes_buffers_along():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = Average(network, 0.9)
    weight, mean = network[0].weight.detach().clone(), network[1].running_mean.clone()
    for step in range(30):
        with torch.no_grad():
            network[0].weight += torch.randn(3, 2)
        network(torch.randn(8, 2))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        weight = decay * weight + (1 - decay) * network[0].weight.detach()
        mean = decay * mean + (1 - decay) * network[1].running_mean
    torch.testing.assert_close(average.network[0].weight, weight)
    torch.testing.assert_close(average.network[1].running_mean, mean)
    assert average.network[1].num_batches_tracked == 30


class Watching(Callback):
    """Keeps what was validated at the best epoch."""

    def epoch_ended(self, fit, metrics):
        if fit.state.best_epoch == fit.state.epoch:
            self.live = copy.deepcopy(fit.network.state_dict())
            self.averaged = copy.deepcopy(fit.average.network.state_dict())
            self.loss = metrics["validation/loss"]


def test_the_averaged_weights_are_validated_and_kept():
    watching = Watching()
    fit = a_fit(a_plan(model={"norm": "batch"}, regularization={"ema": 0.9}), [watching])
    fit.run()
    for name, kept in fit.network.state_dict().items():
        assert torch.equal(kept, watching.averaged[name])
    assert not torch.equal(watching.live["layers.0.weight"], watching.averaged["layers.0.weight"])
    raw = predict(fit.network, fit.validation.inputs)
    assert fit.loss(raw, fit.validation.targets).mean().item() == watching.loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_mixed_rows_lie_between_two_rows(dtype):
    torch.manual_seed(0)
    rows = Rows((torch.rand(64, 3, 4, 4) * 255).to(dtype), torch.arange(64), torch.rand(64))
    first, second, share = mixed(rows, 0.4, "image")
    assert first.inputs.dtype == dtype
    assert 0 <= share <= 1
    expected = share * rows.inputs.float() + (1 - share) * rows.inputs[second.targets].float()
    tolerance = 0.51 if dtype is torch.uint8 else 1e-4
    torch.testing.assert_close(first.inputs.float(), expected, atol=tolerance, rtol=0)
    assert torch.equal(second.weights, rows.weights[second.targets])


def test_mixed_sequences_have_the_steps_of_the_longer():
    torch.manual_seed(0)
    inputs = torch.rand(8, 5, 3)
    for row, length in enumerate([5, 1, 2, 3, 4, 5, 1, 2]):
        inputs[row, :, -1] = (torch.arange(5) < length).float()
    rows = Rows(inputs, torch.arange(8))
    first, second, _ = mixed(rows, 1.0, "sequence")
    longest = torch.maximum(inputs[..., -1], inputs[second.targets][..., -1])
    assert torch.equal(first.inputs[..., -1], longest)
