"""What every architecture keeps, for every kind of input, task and option that it has.

Architectures, inputs and options are found by introspection: a new one is tested by being there.
"""

import functools
import io
import random
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid_pipelines import architectures, losses
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.export import export_model, measure_parity
from pellucid_pipelines.loop import Fit, predict
from pellucid_pipelines.preprocessing import FITTERS
from support import inputs
from support.training import a_plan

SMALL: dict[str, Any] = {
    "widths": (8, 8), "width": 8, "depth": 1, "layers": 1, "blocks": 1, "heads": 2, "members": 3,
    "bins": 4, "embedding": 4, "buckets": 64, "channels": 4, "dropout": 0.1,
}  # fmt: skip
MORE: dict[str, list[Any]] = {  # values worth trying of options that are numbers
    "depth": [2], "layers": [2], "members": [1], "bins": [0], "buckets": [0], "dropout": [0.0],
    "patch": [(4, 4)], "blocks": [2],
}  # fmt: skip
KINDS = sorted(architectures.BUILDERS, key=lambda kind: kind.__name__)
PAIRS = [(kind, modality) for kind in KINDS for modality in kind.modalities if modality in FITTERS]


def options(kind: type[plan.Part]) -> list[dict[str, Any]]:
    """The small form of an architecture, and one for each value of each of its options."""
    fields = kind.model_fields
    small = {name: value for name, value in SMALL.items() if name in fields}
    found = [small]
    for name, field in fields.items():
        values = MORE.get(name, [])
        if field.annotation is bool:
            values = [not field.default]
        elif get_origin(field.annotation) is Literal and name != "kind":
            values = [value for value in get_args(field.annotation) if value != field.default]
        found += [small | {name: value} for value in values]
    return found


def cases() -> list[Any]:
    return [
        pytest.param(kind(**option), modality, id=f"{kind.__name__}-{modality}-{_label(option)}")
        for kind, modality in PAIRS
        for option in options(kind)
    ]


def _label(option: dict[str, Any]) -> str:
    changed = [f"{name}={value}" for name, value in option.items() if SMALL.get(name) != value]
    return ",".join(changed).replace(" ", "") or "small"


DEFAULT_LOSS = {"binary": plan.CrossEntropy(), "multiclass": plan.CrossEntropy()}
DEFAULT_LOSS["regression"] = plan.Mse()


@functools.cache
def an_example(modality: plan.Modality, task: str) -> inputs.Example:
    return inputs.example(modality, task)


def fitting(
    spec: plan.Model,
    example: inputs.Example,
    task: str,
    *callbacks: Callback,
    epochs: int = 8,
    **parts: Any,
) -> Fit:
    whole = a_plan(
        modality=example.features.modality,
        training={"epochs": epochs, "batch_size": 16, "patience": 100},
        optimizer={"kind": "adamw", "lr": 0.01},
        **parts,
    )
    torch.manual_seed(0)
    return Fit(
        architectures.build(spec, example.features, example.target.outputs, example.target.link),
        losses.build(whole.loss or DEFAULT_LOSS[task], example.target),
        example.rows,
        example.rows,
        whole,
        device=torch.device("cpu"),
        callbacks=[EarlyStopping(100, 0.0), *callbacks],
    )


def loss_of(fit: Fit) -> float:
    return fit.validate()["validation/loss"]


@pytest.mark.parametrize(("spec", "modality"), cases())
def test_every_option_builds_learns_and_judges_rows_alone(spec, modality):
    example = an_example(modality, "multiclass")
    fit = fitting(spec, example, "multiclass", schedule={"kind": "constant"})
    before = loss_of(fit)
    fit.run()
    assert fit.state.best_loss < 0.95 * before
    rows = example.rows.inputs
    raw = predict(fit.network, rows)
    assert raw.shape == (len(rows), example.target.outputs)
    assert raw.dtype == torch.float32
    assert torch.equal(predict(fit.network, rows), raw), "evaluation must be deterministic"
    torch.testing.assert_close(predict(fit.network, rows[:1]), raw[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("task", inputs.TASKS)
@pytest.mark.parametrize(("kind", "modality"), PAIRS)
def test_every_task_is_learnt_and_every_parameter_takes_part(kind, modality, task):
    example = an_example(modality, task)
    fit = fitting(kind(**options(kind)[0]), example, task)
    before = loss_of(fit)
    fit.network.train()
    fit.batch_loss(example.rows).backward()
    idle = [name for name, p in fit.network.named_parameters() if p.grad is None]
    assert not idle
    fit.run()
    assert fit.state.best_loss < before


EXPORTED = [  # seconds each: one task of every architecture always, the others in the slow tests
    pytest.param(kind, modality, task, marks=pytest.mark.slow if (i + j) % 3 else ())
    for i, (kind, modality) in enumerate(PAIRS)
    for j, task in enumerate(inputs.TASKS)
]


@pytest.mark.parametrize(("kind", "modality", "task"), EXPORTED)
def test_onnx_runtime_agrees(tmp_path, kind, modality, task):
    example = an_example(modality, task)
    fit = fitting(kind(**options(kind)[0]), example, task, epochs=2)
    fit.run()
    export_model(fit.network, example.preprocessing, example.target, tmp_path / "model.onnx")
    parity = measure_parity(
        fit.network, example.preprocessing, example.target, example.table, tmp_path
    )
    assert parity.max_error <= 1e-4


class Killed(BaseException):
    """Stands for the end of the process."""


class Committed(Callback):
    """Keeps the state after every epoch, and dies in one step."""

    def __init__(self, dies_after: int) -> None:
        self.steps, self.dies_after = 0, dies_after
        self.saved: dict[str, Any] | None = None

    def step_ended(self, fit, step, trace):
        self.steps += 1
        if self.steps == self.dies_after:
            raise Killed

    def epoch_ended(self, fit, metrics):
        content = io.BytesIO()
        torch.save(fit.state_dict(), content)
        content.seek(0)
        self.saved = torch.load(content, weights_only=True)


def weights_of(network: nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def resumed_after(spec: plan.Model, example: inputs.Example, step: int) -> Fit:
    """A run that died in a step, counted from 1, and another that went on from its last commit."""
    dying = Committed(step)
    with pytest.raises(Killed):
        fitting(spec, example, "binary", dying, **INTERRUPTED).run()
    resumed = fitting(spec, example, "binary", **INTERRUPTED)
    if dying.saved is not None:
        resumed.load_state_dict(dying.saved)
    resumed.run()
    return resumed


INTERRUPTED: dict[str, Any] = {
    "epochs": 4,
    "regularization": {"ema": 0.9, "l1": 1e-4},
    "schedule": {"kind": "plateau", "patience": 1},
}


def interruptions() -> list[Any]:
    """A few steps of every architecture always, ten of the four that most people use."""
    common = (plan.Mlp, plan.TabM, plan.Cnn, plan.Lstm)
    return [
        pytest.param(kind, modality, 10 if kind in common else 2, id=f"{kind.__name__}-{modality}")
        for kind, modality in PAIRS
    ]


@pytest.mark.parametrize(("kind", "modality", "times"), interruptions())
def test_killed_at_any_step_it_resumes_to_the_very_same_weights(kind, modality, times):
    example = an_example(modality, "binary")
    spec = kind(**options(kind)[0])
    whole = fitting(spec, example, "binary", **INTERRUPTED)
    whole.run()
    last = INTERRUPTED["epochs"] * whole.steps
    for step in random.Random(kind.__name__).sample(range(1, last + 1), times):
        resumed = resumed_after(spec, example, step)
        assert resumed.state.losses == whole.state.losses
        for given, expected in zip(
            weights_of(resumed.network), weights_of(whole.network), strict=True
        ):
            assert torch.equal(given, expected)
