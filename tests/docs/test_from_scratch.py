"""The tutorial runs as written, and its network is the oracle of ours."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.plan import Plan
from pellucid_pipelines import architectures, losses
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "from_scratch" / "README.md"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """The names that the page's code leaves behind."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lesson"))
        for block in re.findall(
            r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
        ):
            exec(compile(block, str(PAGE), "exec"), names)
        assert Path("from_scratch.png").stat().st_size > 10_000
    return names


def test_the_page_keeps_its_promises(lesson):
    assert len(lesson["curve"]) == 1350
    assert lesson["right"].mean() > 0.96
    assert (PAGE.parent / "from_scratch.png").exists()


def test_the_page_s_plan_is_a_plan():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    spec = Plan.from_text(text)
    assert (spec.model.widths, spec.optimizer.lr) == ((32,), 0.5)


def ours(parameters):
    """Our network of the plan, in float64, with the page's weights."""
    spec = Plan.parse(
        {
            "name": "d",
            "data": {"dataset": "d"},
            "model": {"kind": "mlp", "widths": [32], "dropout": 0},
        }
    ).model
    network = architectures.build(spec, Features.tabular(64), 10, "softmax").double()
    with torch.no_grad():
        for value, name in zip(network.parameters(), ("W1", "b1", "W2", "b2"), strict=True):
            value.copy_(torch.from_numpy(parameters[name].T))
    return network


def a_target():
    return Target("digit", "classification", tuple(range(10)), tuple(range(10)))


def test_our_activations_gradients_and_updates_are_the_page_s(lesson):
    parameters = lesson["start"](64, 32, 10, seed=1)
    X, labels, Y = (lesson[name][:256] for name in ("X", "labels", "Y"))
    seen = lesson["forward"](parameters, X)
    gradients = lesson["backward"](parameters, seen, Y)
    updated = lesson["descend"](parameters, gradients, lr=0.5)

    spec = Plan.parse(
        {
            "name": "d",
            "data": {"dataset": "d"},
            "loss": {"kind": "cross_entropy"},
            "optimizer": {"kind": "sgd", "lr": 0.5, "momentum": 0},
            "schedule": {"kind": "constant"},
            "training": {"batch_size": 256, "clip_norm": None},
        }
    )
    rows = Rows(torch.from_numpy(X), torch.from_numpy(labels))
    network = ours(parameters)
    loss = losses.build(spec.loss, a_target())
    np.testing.assert_allclose(
        network(rows.inputs).detach().numpy(), seen["z2"], rtol=1e-10, atol=1e-10
    )
    fit = Fit(network, loss, rows, rows, spec, device=torch.device("cpu"))
    fit.set_lr(0)
    found = fit.network(rows.inputs).double()
    losses.mean(loss(found, rows.targets), None).backward()
    for value, name in zip(network.parameters(), ("W1", "b1", "W2", "b2"), strict=True):
        np.testing.assert_allclose(value.grad.numpy(), gradients[name].T, rtol=1e-10, atol=1e-10)
    fit.optimizer.step()
    for value, name in zip(network.parameters(), ("W1", "b1", "W2", "b2"), strict=True):
        np.testing.assert_allclose(value.detach().numpy(), updated[name].T, rtol=1e-10, atol=1e-10)
