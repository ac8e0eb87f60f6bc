"""Perceptron, MLP, TabM and FT-Transformer: what they compute, and that they fit the rest."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid.bundle import MODEL
from pellucid.errors import InvalidPlan
from pellucid_pipelines import architectures, losses
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.explain import explain
from pellucid_pipelines.export import export_model, measure_parity
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import Fit, predict
from pellucid_pipelines.preprocessing import Tabular
from pellucid_pipelines.tensors import Target, seed_of
from support.training import WIDTH, a_plan, schema_of, toy_rows

CPU = torch.device("cpu")
SMALL = {
    "perceptron": plan.Perceptron(),
    "mlp": plan.Mlp(widths=(16, 16), residual=True, norm="layer"),
    "tabm": plan.TabM(members=4, width=16, bins=6, embedding=3),
    "ft_transformer": plan.FtTransformer(width=8, heads=2, depth=2),
}
LINKS = [("identity", 1), ("sigmoid", 1), ("softmax", 3)]
kinds = pytest.mark.parametrize("kind", SMALL)


def table(rows=60, seed=0):
    """Numbers with ties and holes, a flag, a moment, and texts."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "number": random.normal(size=rows),
            "count": pa.array([None if i % 9 == 0 else i % 5 for i in range(rows)]),
            "flag": pa.array([i % 3 == 0 for i in range(rows)]),
            "moment": pa.array(random.integers(0, 2**51, rows), pa.timestamp("us", "UTC")),
            "text": [["a", "b", "c", None][i % 4] for i in range(rows)],
        }
    )


def fitted(spec, task="regression", classes=2, rows=60):
    """A network with random weights on mixed columns, with its preprocessing and target."""
    raw = table(rows)
    preprocessing = Tabular.fit(raw, schema_of(raw, {}).columns, plan.Preprocessing(min_count=1))
    outcome = np.arange(rows) % classes if task == "classification" else np.arange(rows) * 1.5
    target = Target.fit(pa.chunked_array([outcome]), "outcome", task, None)
    features = preprocessing.features.with_sample(preprocessing(preprocessing.encode(raw)))
    torch.manual_seed(0)
    network = architectures.build(spec, features, target.outputs, target.link)
    for parameter in network.parameters():  # also those that start at zero
        nn.init.normal_(parameter, std=0.3)
    return network, preprocessing, target, raw


def a_fit(spec, callbacks=()):
    torch.manual_seed(seed_of("network", 0))
    train = toy_rows()
    features = Features.tabular(WIDTH).with_sample(train.inputs)
    return Fit(
        architectures.build(spec.model, features, 1, "sigmoid"),
        losses.binary_cross_entropy,
        train,
        toy_rows(60, seed=1),
        spec,
        device=CPU,
        callbacks=[EarlyStopping(100, 0.0), *callbacks],
    )


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAt(Callback):
    def __init__(self, epoch, step):
        self.epoch, self.step = epoch, step

    def step_ended(self, fit, step, trace):
        if (fit.state.epoch, step) == (self.epoch, self.step):
            raise Killed


def test_tabm_learns_and_goes_on_where_it_was_killed_bit_by_bit(tmp_path):
    spec = a_plan(training={"epochs": 6}, optimizer={"kind": "adamw", "lr": 0.03})
    spec = spec.model_copy(update={"model": SMALL["tabm"]})
    undisturbed = a_fit(spec)
    undisturbed.run()
    assert undisturbed.state.best_loss < 0.5 < np.log(2)

    def attempt(*callbacks):
        return a_fit(spec, [*callbacks, Checkpointing(Checkpoints(tmp_path, "print"), 0)])

    with pytest.raises(Killed):
        attempt(KillAt(3, 2)).run()
    resumed = attempt()
    resumed.run()
    for name, value in undisturbed.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


@pytest.mark.parametrize(
    ("kind", "task", "classes"),
    [
        ("tabm", "regression", 0),
        ("tabm", "classification", 2),
        ("tabm", "classification", 3),
        ("ft_transformer", "regression", 0),
    ],
)
def test_onnx_runtime_predicts_the_same(kind, task, classes, tmp_path):
    network, preprocessing, target, raw = fitted(SMALL[kind], task, classes)
    export_model(network, preprocessing, target, tmp_path / MODEL)
    assert measure_parity(network, preprocessing, target, raw, tmp_path).max_error < 1e-5


@kinds
def test_a_rows_prediction_does_not_depend_on_the_others(kind):
    network, preprocessing, _, raw = fitted(SMALL[kind])
    dense = preprocessing(preprocessing.encode(raw))
    together = predict(network, dense)
    alone = torch.cat([predict(network, row) for row in dense.split(1)])
    torch.testing.assert_close(alone, together)


def test_tabms_explanation_adds_up():
    network, preprocessing, target, raw = fitted(SMALL["tabm"], "classification", 2)
    chosen = plan.Explanation(background=20, rows=5)
    told = explain(network, preprocessing, target, raw, raw, chosen, seed=0)
    assert told.additivity_error < 1e-3
    assert told.values.shape == (5, 5, 1)


@pytest.mark.parametrize("width", [1, 4, 24, 128])
def test_groups_of_a_group_norm_divide_the_width(width):
    network = architectures.build(
        plan.Mlp(widths=(width, width), norm="group", residual=True), Features.tabular(3), 1
    )
    assert network(torch.randn(5, 3)).shape == (5, 1)


def test_residual_layers_of_equal_width_add_their_input():
    spec = plan.Mlp(widths=(8, 8, 5), residual=True, dropout=0.0)
    network = architectures.build(spec, Features.tabular(3), 1).eval()
    first, act, residual, third = network.layers[:4]
    hidden = act(first(torch.randn(4, 3)))
    inner = residual.layers[0]
    torch.testing.assert_close(residual(hidden), hidden + torch.relu(inner(hidden)))
    assert isinstance(third, nn.Linear), "a layer of another width adds nothing"


@pytest.mark.parametrize(("link", "outputs"), LINKS)
def test_tabm_predicts_the_mean_of_its_members_predictions(link, outputs):
    torch.manual_seed(0)
    spec = plan.TabM(members=5, width=8, dropout=0.0)
    network = architectures.build(spec, Features.tabular(3), outputs, link)
    inputs = 3 * torch.randn(9, 3)
    members = network.train()(inputs)
    assert members.shape == (9, 5, outputs)
    back = {"identity": nn.Identity(), "sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(dim=-1)}[link]
    torch.testing.assert_close(back(network.eval()(inputs)), back(members).mean(dim=1))


def test_tabm_shares_matrices_and_members_differ_from_the_start():
    torch.manual_seed(0)
    few, many = (
        architectures.build(plan.TabM(members=m, width=64), Features.tabular(9), 1) for m in (2, 32)
    )
    assert sum(p.numel() for p in many.parameters()) < 4 * sum(p.numel() for p in few.parameters())
    raw = many.train()(torch.randn(4, 9))
    assert (raw.std(dim=1) > 1e-4).all()


def test_tabm_decays_matrices_only():
    sample = torch.randn(50, 4)
    network = architectures.build(plan.TabM(), Features.tabular(4).with_sample(sample), 1)
    kept = {name.rsplit(".", 1)[1] for name, p in network.named_parameters() if p.ndim <= 1}
    assert kept == {"r", "s", "bias"}


def test_tabm_without_a_number_or_without_bins():
    flags = Features("tabular", (3,), {"flag": slice(0, 1), "text": slice(1, 3)}, (), 0)
    flags = flags.with_sample(torch.zeros(8, 3))
    numbers = Features.tabular(3).with_sample(torch.randn(8, 3))
    for spec, features in ((plan.TabM(), flags), (plan.TabM(bins=0), numbers)):
        network = architectures.build(spec, features, 1)
        assert network.embedding is None
        assert set(network.layers[0].r.tolist()) == {-1.0, 1.0}, "random signs"


def test_tabm_weighs_a_raw_column_as_a_whole():
    blocks = {"number": slice(0, 2), "text": slice(2, 5)}  # a number with its flag
    features = Features("tabular", (5,), blocks, (0,)).with_sample(torch.randn(30, 5))
    network = architectures.build(plan.TabM(members=3, embedding=4), features, 1)
    for r in network.layers[0].r.detach().view(3, 4 + 4):  # embedding, flag, texts
        assert r.unique().numel() == 2
        assert (r[:5] == r[0]).all()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InvalidPlan, match="heads"):
        architectures.build(plan.FtTransformer(width=10, heads=4), Features.tabular(3), 1)


def test_ft_transformer_has_a_token_for_each_raw_column():
    network, preprocessing, _, raw = fitted(SMALL["ft_transformer"])
    dense = preprocessing(preprocessing.encode(raw))
    assert network.tokens(dense).shape == (60, 5, 8)
