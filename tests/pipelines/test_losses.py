"""Every loss against a reference in NumPy, and its gradient against finite differences."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from pellucid import plan
from pellucid_pipelines import losses
from pellucid_pipelines.tensors import Target

ROWS, CLASSES = 12, 4
BINARY = Target("y", "classification", (0, 1), (0, 1), positive=1)
MULTICLASS = Target("y", "classification", (0, 1, 2, 3), (0, 1, 2, 3))
NUMBER = Target("y", "regression")

SPECS = [
    (plan.CrossEntropy(), BINARY),
    (plan.CrossEntropy(label_smoothing=0.2), BINARY),
    (plan.Focal(), BINARY),
    (plan.Focal(gamma=0.5), BINARY),
    (plan.CrossEntropy(), MULTICLASS),
    (plan.CrossEntropy(label_smoothing=0.2), MULTICLASS),
    (plan.Focal(), MULTICLASS),
    (plan.Focal(gamma=0.5), MULTICLASS),
    (plan.Mse(), NUMBER),
    (plan.Mae(), NUMBER),
    (plan.Huber(delta=0.7), NUMBER),
    (plan.Pinball(level=0.8), NUMBER),
]
EVERY = pytest.mark.parametrize(
    ("spec", "target"), SPECS, ids=[f"{s.kind}-{t.outputs}-{i}" for i, (s, t) in enumerate(SPECS)]
)


def example(target, steps=1):
    """Raw outputs and targets, float64."""
    generator = torch.Generator().manual_seed(0)
    width = target.outputs if target.classes else steps
    raw = torch.randn(ROWS, width, generator=generator, dtype=torch.float64) * 2
    if target.classes:
        truth = torch.randint(len(target.classes), (ROWS,), generator=generator)
        return raw, truth.double() if target.positive is not None else truth
    truth = torch.randn(ROWS, steps, generator=generator, dtype=torch.float64)
    return raw, truth.squeeze(1) if steps == 1 else truth


def reference(spec, target, raw, truth):
    """(N,) losses by their definitions, in NumPy."""
    raw, truth = raw.numpy(), truth.numpy()
    if not target.classes:
        short = truth.reshape(raw.shape) - raw
        match spec:
            case plan.Mse():
                each = short**2
            case plan.Mae():
                each = abs(short)
            case plan.Huber():
                outer = spec.delta * (abs(short) - spec.delta / 2)
                each = np.where(abs(short) < spec.delta, short**2 / 2, outer)
            case plan.Pinball():
                each = np.where(short > 0, spec.level * short, (spec.level - 1) * short)
        return each.mean(axis=1)
    if target.positive is not None:
        p = expit(raw[:, 0])
        logs, truth = np.log(np.stack([1 - p, p], axis=1)), truth.astype(int)
    else:
        logs = log_softmax(raw, axis=1)
    true = logs[np.arange(ROWS), truth]
    if isinstance(spec, plan.Focal):
        return -((1 - np.exp(true)) ** spec.gamma) * true
    smooth = spec.label_smoothing
    return -(1 - smooth) * true - smooth * logs.mean(axis=1)


@EVERY
def test_it_is_what_its_definition_says(spec, target):
    raw, truth = example(target)
    given = losses.build(spec, target)(raw, truth)
    np.testing.assert_allclose(given, reference(spec, target, raw, truth), rtol=1e-12)


@EVERY
def test_its_gradient_is_that_of_finite_differences(spec, target):
    raw, truth = example(target)
    loss = losses.build(spec, target)
    assert torch.autograd.gradcheck(lambda x: loss(x, truth), raw.requires_grad_())


@pytest.mark.parametrize("spec", [plan.Mse(), plan.Mae(), plan.Huber(), plan.Pinball(level=0.3)])
def test_of_several_steps_it_is_the_mean(spec):
    raw, truth = example(NUMBER, steps=3)
    given = losses.build(spec, NUMBER)(raw, truth)
    assert given.shape == (ROWS,)
    np.testing.assert_allclose(given, reference(spec, NUMBER, raw, truth), rtol=1e-12)


@EVERY
def test_certain_rows_have_finite_losses_and_gradients(spec, target):
    for size in (0.0, 200.0, -200.0):
        raw, truth = example(target)
        raw = torch.zeros_like(raw).index_fill(1, torch.tensor([0]), size).requires_grad_()
        loss = losses.build(spec, target)(raw, truth)
        loss.sum().backward()
        assert loss.isfinite().all()
        assert raw.grad.isfinite().all()


def test_the_pinball_loss_is_least_at_its_quantile():
    values = torch.randn(2001, dtype=torch.float64)
    loss = losses.build(plan.Pinball(level=0.9), NUMBER)

    def total(guess):
        return loss(torch.full((2001, 1), guess, dtype=torch.float64), values).mean()

    best = float(values.quantile(0.9))
    assert total(best) < min(total(best - 0.05), total(best + 0.05))


def test_of_an_ensemble_it_is_the_mean_of_its_members():
    raw, truth = example(MULTICLASS)
    members = torch.stack([raw, raw.flip(1)], dim=1)
    given = losses.per_row(losses.cross_entropy, members, truth)
    each = [losses.cross_entropy(raw, truth), losses.cross_entropy(raw.flip(1), truth)]
    torch.testing.assert_close(given, torch.stack(each).mean(dim=0))
