import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid import plan
from pellucid_pipelines import schedules


def curve(spec, steps):
    return [schedules.factor(spec, step, steps, []) for step in range(steps)]


def torch_curve(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant():
    assert set(curve(plan.Constant(), 10)) == {1.0}


def test_step_equals_torch():
    ours = curve(plan.Step(every=0.3, factor=0.1), 10)
    theirs = torch_curve(lambda o: torch.optim.lr_scheduler.StepLR(o, 3, gamma=0.1), 10)
    assert ours == pytest.approx(theirs)


def test_warmup_stable_decay_goes_up_stays_and_goes_down_to_0():
    rates = curve(plan.WarmupStableDecay(warmup=0.1, decay=0.2), 100)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert set(rates[9:80]) == {1.0}
    assert rates[80:] == pytest.approx([(20 - step) / 21 for step in range(20)])


def test_cosine_equals_torch():
    steps = 40
    ours = curve(plan.Cosine(warmup=0, floor=0.1), steps)
    theirs = torch_curve(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps, eta_min=0.1), steps
    )
    assert ours == pytest.approx(theirs)


def test_cosine_warms_up_in_a_line():
    rates = curve(plan.Cosine(warmup=0.1, floor=0), 100)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_cycle_equals_torch():
    steps = 101
    ours = curve(plan.OneCycle(peak=0.3), steps - 1)
    # torch counts the last step as the end, and its peak lies at pct_start * total - 1.
    theirs = torch_curve(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=steps, pct_start=31 / 101, cycle_momentum=False
        ),
        steps - 1,
    )
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_plateau_equals_torch():
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch waits until patience is exceeded, we until it is reached.
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=0
    )
    spec = plan.Plateau(factor=0.5, patience=2)
    for count in range(len(losses)):
        rate = optimizer.param_groups[0]["lr"]
        assert schedules.factor(spec, 0, 1, losses[:count]) == pytest.approx(rate)
        scheduler.step(losses[count])


@given(
    spec=st.sampled_from(
        [
            plan.Step(),
            plan.Step(every=1e-6),
            plan.Cosine(),
            plan.Cosine(warmup=0.99),
            plan.OneCycle(peak=0),
            plan.WarmupStableDecay(),
            plan.WarmupStableDecay(warmup=0.9, decay=0.9),
        ]
    ),
    steps=st.integers(1, 200),
)
def test_every_factor_lies_between_0_and_1(spec, steps):
    assert all(0 <= factor <= 1 for factor in curve(spec, steps))
