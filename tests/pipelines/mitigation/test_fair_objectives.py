"""Group DRO and the adversary: what they compute, what they achieve, and that they go on alike."""

import copy
import math

import pytest
import torch

from pellucid import plan
from pellucid_pipelines import architectures, losses
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.distributed import World
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import Fit, predict
from pellucid_pipelines.mitigation.adversarial import Adversarial
from pellucid_pipelines.mitigation.group_dro import GroupDro
from pellucid_pipelines.objectives import Objective
from pellucid_pipelines.rows import Rows
from support.training import a_plan


def proxied(count, seed):
    """Two groups; the first input tells the group, and decides the class as the second does."""
    generator = torch.Generator().manual_seed(seed)
    group = (torch.rand(count, generator=generator) < 0.5).long()
    inputs = torch.randn(count, 3, generator=generator)
    inputs[:, 0] = 2 * group - 1 + 0.7 * inputs[:, 0]
    noise = 0.7 * torch.randn(count, generator=generator)
    positive = inputs[:, 1] + 0.9 * (2 * group - 1) + noise > 0
    return Rows(inputs, positive.float(), None, group)


def a_fair_fit(objective, rows, held, epochs=12, seed=0):
    spec = a_plan(
        training={"epochs": epochs, "batch_size": 64, "seed": seed},
        model={"dropout": 0.0, "widths": [12]},
        optimizer={"kind": "adamw", "lr": 0.01},
    )
    torch.manual_seed(seed)
    network = architectures.build(spec.model, Features.tabular(3), 1)
    stopping = EarlyStopping(epochs, 0.0)
    loss = losses.binary_cross_entropy
    return Fit(
        network,
        loss,
        rows,
        held,
        spec,
        device=torch.device("cpu"),
        callbacks=[stopping],
        objective=objective,
    )


def selection_gap(network, rows):
    positive = predict(network, rows.inputs)[:, 0] > 0
    shares = [positive[rows.groups == group].float().mean() for group in (0, 1)]
    return abs(shares[0] - shares[1]).item()


def adversary(criterion="demographic_parity", strength=3.0):
    torch.manual_seed(1)
    classes = 2 if criterion == "equalized_odds" else 1
    only = 1.0 if criterion == "equal_opportunity" else None
    return Adversarial(plan.Adversarial(strength=strength), 2, classes, 1, only)


def test_the_adversary_takes_the_group_out_of_the_outputs():
    train, held, unseen = proxied(800, 0), proxied(300, 1), proxied(2000, 2)
    plain = a_fair_fit(None, train, held)
    plain.run()
    fair = a_fair_fit(adversary(), train, held)
    fair.run()
    before, after = (selection_gap(each.network, unseen) for each in (plain, fair))
    assert before > 0.4
    assert after < 0.6 * before


def test_the_loss_that_is_reported_is_that_of_the_rows():
    rows = proxied(64, 0)
    raw, each = torch.randn(64, 1, requires_grad=True), torch.rand(64)
    objective = adversary()
    found = objective.of_batch(raw, each, rows, World())
    assert found.item() == pytest.approx(each.mean().item())
    found.backward()
    reversed_ = raw.grad.clone()
    (straight,) = torch.autograd.grad(objective._loss(raw, rows), raw)
    assert torch.allclose(reversed_, -3.0 * straight)


@pytest.mark.parametrize("criterion", ["equalized_odds", "equal_opportunity", "demographic_parity"])
def test_an_adversary_that_has_learnt_nothing_costs_nothing(criterion):
    rows = proxied(400, 3)
    objective = adversary(criterion)
    for parameter in objective.adversary.parameters():
        torch.nn.init.zeros_(parameter)
    each, raw = torch.rand(400), torch.zeros(400, 1)
    assert objective.of_all(raw, each, rows).item() == pytest.approx(each.mean().item())
    _, weight = objective._asked(rows)
    told = rows.targets == 1 if criterion == "equal_opportunity" else torch.ones(400).bool()
    assert torch.equal(weight > 0, told)
    assert 0 < objective._ignorance(rows).item() <= math.log(2)


def test_rows_without_a_group_tell_the_adversary_nothing():
    rows = proxied(50, 0)
    nobody = Rows(rows.inputs, rows.targets, None, torch.full((50,), 2))
    raw = torch.randn(50, 1, requires_grad=True)
    adversary().of_batch(raw, torch.rand(50), nobody, World()).backward()
    assert raw.grad is None or not raw.grad.any()


def test_group_weights_follow_the_losses_exactly():
    objective = GroupDro(plan.GroupDro(rate=0.5, by_class=False), groups=2, classes=2)
    each = torch.tensor([1.0, 3.0, 0.5, 0.5], requires_grad=True)
    rows = Rows(torch.zeros(4, 1), torch.zeros(4), None, torch.tensor([0, 0, 1, 1]))
    loss = objective.of_batch(torch.zeros(4, 1), each, rows, World())
    grown = torch.tensor([math.exp(1.0), math.exp(0.25), 1.0]) / 3
    weight = grown / grown.sum()
    part = weight[:2] / weight[:2].sum()
    assert loss.item() == pytest.approx((part[0] * 2.0 + part[1] * 0.5).item())
    loss.backward()
    assert torch.allclose(each.grad, torch.tensor([part[0], part[0], part[1], part[1]]) / 2)
    assert torch.allclose(objective.weight, torch.full((3,), 1 / 3)), "kept with the step only"
    objective.gradients_ready(None, torch.tensor(0.0))
    assert torch.allclose(objective.weight, weight)
    assert objective.of_all(torch.zeros(4, 1), each.detach(), rows).item() == 2.0


def shifted(count, seed):
    """A small group, whose rule is the reverse of the large one's in the second input."""
    generator = torch.Generator().manual_seed(seed)
    group = (torch.rand(count, generator=generator) < 0.15).long()
    inputs = torch.randn(count, 3, generator=generator)
    hidden = inputs[:, 0] + torch.where(group == 1, -1.0, 1.0) * inputs[:, 1]
    return Rows(inputs, (hidden > 0).float(), None, group)


def test_group_dro_lowers_the_worst_groups_loss():
    train, held, unseen = shifted(1500, 0), shifted(800, 1), shifted(3000, 2)

    def worst(objective):
        fit = a_fair_fit(objective, train, held, epochs=8)
        fit.run()
        each = losses.binary_cross_entropy(predict(fit.network, unseen.inputs), unseen.targets)
        return max(each[unseen.groups == group].mean().item() for group in (0, 1))

    robust = worst(GroupDro(plan.GroupDro(rate=0.1, by_class=False), 2, 2))
    assert robust < 0.75 * worst(None)


@pytest.mark.parametrize(
    "made",
    [
        lambda: GroupDro(plan.GroupDro(rate=0.1), 2, 2),
        lambda: adversary("equalized_odds", 1.0),
    ],
    ids=["group_dro", "adversarial"],
)
def test_an_interrupted_fit_goes_on_as_the_undisturbed_one(made):
    train, held = proxied(200, 0), proxied(100, 1)
    whole = a_fair_fit(made(), train, held, epochs=4)
    whole.run()
    first = a_fair_fit(made(), train, held, epochs=4)
    first.run_epoch()
    first.run_epoch()
    saved = copy.deepcopy(first.state_dict())
    second = a_fair_fit(made(), train, held, epochs=4)
    second.load_state_dict(saved)
    second.run()
    assert second.state.losses == whole.state.losses


def test_without_a_mitigation_nothing_is_kept():
    fit = a_fair_fit(None, proxied(64, 0), proxied(64, 1))
    assert type(fit.objective) is Objective
    assert "objective" not in fit.state_dict()


class Shares(World):
    """One of two processes; the other's numbers are given."""

    def __init__(self, others=None):
        super().__init__(rank=0, size=2)
        object.__setattr__(self, "others", others)
        object.__setattr__(self, "own", None)

    def sum(self, value):
        object.__setattr__(self, "own", value.clone())
        return value if self.others is None else value + self.others


def test_two_processes_weigh_groups_by_the_whole_batch():
    rows = Rows(torch.zeros(5, 1), torch.zeros(5), torch.rand(5), torch.tensor([0, 0, 1, 2, 1]))
    each, raw = torch.rand(5), torch.zeros(5, 1)

    def objective():
        return GroupDro(plan.GroupDro(rate=1.0, by_class=False), groups=2, classes=2)

    whole = objective().of_batch(raw, each, rows, World()).item()
    parts = [(rows.part(0, 3), each[:3]), (rows.part(3, 5), each[3:])]
    seen = []
    for part, losses_ in parts:
        world = Shares()
        objective().of_batch(raw, losses_, part, world)
        seen.append(world.own)
    total = sum(
        objective().of_batch(raw, losses_, part, Shares(other)).item() * len(part) / len(rows)
        for (part, losses_), other in zip(parts, reversed(seen), strict=True)
    )
    assert total == pytest.approx(whole)
