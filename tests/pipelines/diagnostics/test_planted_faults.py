"""Faults planted on purpose are named, and healthy runs raise no alarm.

Every run goes through the code that real runs go through: resolution, split, preprocessing, loop.
"""

import numpy as np
import pytest
import sklearn.datasets
from torch import nn

from pellucid.datasets import synthetic
from support.faults import alarms, diagnose, pictures, sentences, table, waves

MLP = {"kind": "mlp", "widths": [64, 64]}
LSTM = {"kind": "lstm", "width": 24}
CNN = {"kind": "cnn", "widths": [8, 16], "blocks": 1}
TEXT = {
    "modality": "text",
    "preprocessing": {"text": {"vocabulary": 300, "length": 16}},
}


def short(epochs=20, **more):
    return {"epochs": epochs, **more}


def adamw(lr):
    return {"kind": "adamw", "lr": lr}


def linears(network):
    return [m for m in network.modules() if isinstance(m, nn.Linear)]


def scaled(factor, kinds=(nn.Linear,)):
    """Every weight of these kinds of layer, times a factor."""

    def change(network):
        for module in network.modules():
            if isinstance(module, kinds):
                module.weight.mul_(factor)

    return change


def equal_units(network):
    for module in linears(network):
        module.weight.fill_(0.05)
        module.bias.zero_()


def far_below(network):
    """The second layer's rectified units lie far below zero."""
    linears(network)[1].bias.sub_(50)


def dead_convolutions(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.sub_(20)


def hole(network):
    linears(network)[1].weight[3, 3] = float("nan")


def overflowing(network):
    linears(network)[0].weight.mul_(1e25)
    linears(network)[1].weight.mul_(1e25)


def wild_recurrence(network):
    for name, parameter in network.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)
            parameter.mul_(3)
        elif "weight_ih" in name:
            parameter.mul_(0.001)
        elif "bias" in name and parameter.ndim == 1:
            parameter.zero_()


def shuffled(columns, seed=5):
    return columns | {"y": np.random.default_rng(seed).permutation(columns["y"])}


def flipped(columns, share, seed=5):
    chosen = np.random.default_rng(seed).random(len(columns["y"])) < share
    return columns | {"y": np.where(chosen, 1 - columns["y"], columns["y"])}


def leaking(columns, seed=5):
    noise = np.random.default_rng(seed).normal(size=len(columns["y"]))
    return columns | {"paid_back": columns["y"] + 0.05 * noise * np.std(columns["y"])}


def leaking_text(columns):
    return columns | {"status": np.where(columns["y"] == 1, "closed", "open").astype(object)}


def outlier(columns):
    first = columns["x0"].copy()
    first[::50] = 99_999
    return columns | {"x0": first}


def with_constants(columns, count):
    return columns | {f"z{i}": np.full(len(columns["y"]), 7.0) for i in range(count)}


def repeated(columns):
    rows = np.arange(len(columns["y"])) // 2 * 2
    return {name: values[rows] for name, values in columns.items()}


# code of the finding -> columns, change of the network, parts of the plan
FAULTS = {
    "learning rate x100, mlp": (
        "learning_rate_too_high",
        lambda: (table(), None, {"model": MLP, "optimizer": adamw(0.2)}),
    ),
    "learning rate x100, regression": (
        "learning_rate_too_high",
        lambda: (table("regression"), None, {"model": MLP, "optimizer": adamw(0.2)}),
    ),
    "learning rate x100, constant": (
        "learning_rate_too_high",
        lambda: (
            table("multiclass"),
            None,
            {"model": MLP, "optimizer": adamw(0.2), "schedule": {"kind": "constant"}},
        ),
    ),
    "learning rate x100, rmsprop": (
        "learning_rate_too_high",
        lambda: (table(), None, {"model": MLP, "optimizer": {"kind": "rmsprop", "lr": 0.1}}),
    ),
    "learning rate x100, lstm": (
        "learning_rate_too_high",
        lambda: (
            waves(),
            None,
            {"model": LSTM, "optimizer": adamw(0.3), "training": short()},
        ),
    ),
    "learning rate x100, cnn": (
        "learning_rate_too_high",
        lambda: (
            pictures(),
            None,
            {"model": CNN, "optimizer": adamw(0.4), "training": short()},
        ),
    ),
    "learning rate / 100, mlp": (
        "learning_rate_too_low",
        lambda: (
            table(),
            None,
            {"model": MLP, "optimizer": adamw(2e-5), "training": short(30)},
        ),
    ),
    "learning rate / 1000, sgd": (
        "learning_rate_too_low",
        lambda: (
            table("regression"),
            None,
            {"model": MLP, "optimizer": {"kind": "sgd", "lr": 1e-5}, "training": short(30)},
        ),
    ),
    "learning rate / 100, lstm": (
        "learning_rate_too_low",
        lambda: (waves(), None, {"model": LSTM, "optimizer": adamw(1e-5), "training": short()}),
    ),
    "weights x30 at the start": (
        "poor_initialization",
        lambda: (table(), scaled(30), {"model": MLP, "training": short()}),
    ),
    "weights x30 at the start, regression": (
        "poor_initialization",
        lambda: (table("regression"), scaled(30), {"model": MLP, "training": short()}),
    ),
    "equal weights at the start": (
        "poor_initialization",
        lambda: (table(), equal_units, {"model": MLP, "training": short()}),
    ),
    "saturated tanh": (
        "saturated_units",
        lambda: (
            table(),
            scaled(60),
            {"model": MLP | {"activation": "tanh"}, "training": short()},
        ),
    ),
    "saturated sigmoid": (
        "saturated_units",
        lambda: (
            table("multiclass"),
            scaled(100),
            {"model": MLP | {"activation": "sigmoid"}, "training": short()},
        ),
    ),
    "dead units, mlp": (
        "dead_units",
        lambda: (table(), far_below, {"model": MLP, "training": short()}),
    ),
    "dead units, cnn": (
        "dead_units",
        lambda: (pictures(), dead_convolutions, {"model": CNN, "training": short()}),
    ),
    "ten layers of sigmoid": (
        "vanishing_gradients",
        lambda: (
            table(),
            None,
            {"model": {"kind": "mlp", "widths": [32] * 10, "activation": "sigmoid"}},
        ),
    ),
    "eight layers of tanh, small weights": (
        "vanishing_gradients",
        lambda: (
            table("regression"),
            scaled(0.2),
            {"model": {"kind": "mlp", "widths": [32] * 8, "activation": "tanh"}},
        ),
    ),
    "a weight that is no number": ("not_finite", lambda: (table(), hole, {"model": MLP})),
    "overflow": ("not_finite", lambda: (table(), overflowing, {"model": MLP})),
    "exploding rnn": (
        "exploding_gradients",
        lambda: (
            waves(600, 40),
            wild_recurrence,
            {"model": {"kind": "rnn", "width": 32, "bidirectional": False}, "training": short()},
        ),
    ),
    "exploding mlp": (
        "exploding_gradients",
        lambda: (
            table("regression"),
            scaled(6),
            {"model": {"kind": "mlp", "widths": [64] * 5}, "training": short()},
        ),
    ),
    "shuffled labels": ("no_signal", lambda: (shuffled(table()), None, {"model": MLP})),
    "shuffled labels, three classes": (
        "no_signal",
        lambda: (shuffled(table("multiclass")), None, {"model": MLP}),
    ),
    "shuffled values": (
        "no_signal",
        lambda: (shuffled(table("regression")), None, {"model": MLP}),
    ),
    "no learning at all": (
        "loss_not_falling",
        lambda: (
            table(),
            None,
            {"model": MLP, "optimizer": adamw(1e-9), "training": short(10)},
        ),
    ),
    "leaking number": (
        "suspected_leakage",
        lambda: (leaking(table()), None, {"model": MLP, "training": short()}),
    ),
    "leaking number, regression": (
        "suspected_leakage",
        lambda: (leaking(table("regression")), None, {"model": MLP, "training": short()}),
    ),
    "leaking category": (
        "suspected_leakage",
        lambda: (leaking_text(table()), None, {"model": MLP, "training": short()}),
    ),
    "sequences that are not scaled": (
        "unscaled_inputs",
        lambda: (
            waves(scale=1000),
            None,
            {
                "model": LSTM,
                "preprocessing": {"sequence": {"scaling": "none"}},
                "training": short(),
            },
        ),
    ),
    "values far out": (
        "extreme_values",
        lambda: (outlier(table()), None, {"model": MLP, "training": short()}),
    ),
    "one row in a hundred": (
        "class_imbalance",
        lambda: (table(rows=3000, rare=0.01), None, {"model": MLP, "training": short()}),
    ),
    "constant columns": (
        "constant_inputs",
        lambda: (with_constants(table(), 8), None, {"model": MLP, "training": short()}),
    ),
    "every row twice": (
        "shared_rows",
        lambda: (repeated(table()), None, {"model": MLP, "training": short()}),
    ),
    "a quarter of the labels is wrong": (
        "label_noise",
        lambda: (flipped(table(rows=3000, noise=0.0), 0.25), None, {"model": MLP}),
    ),
    "learnt by heart": (
        "overfitting",
        lambda: (
            table(rows=150, noise=3.0),
            None,
            {
                "model": {"kind": "mlp", "widths": [256, 256], "dropout": 0.0},
                "training": short(100, patience=1000),
            },
        ),
    ),
    "far too large": (
        "oversized_model",
        lambda: (
            table(rows=120, noise=3.0),
            None,
            {
                "model": {"kind": "mlp", "widths": [1024, 1024], "dropout": 0.0},
                "training": short(60, patience=1000),
            },
        ),
    ),
    "one batch an epoch": (
        "few_updates",
        lambda: (table(), None, {"model": MLP, "training": short(15, batch_size=100_000)}),
    ),
    "batches of two": (
        "small_batches",
        lambda: (table(rows=400), None, {"model": MLP, "training": short(3, batch_size=2)}),
    ),
}


def shipped(load):
    """A data set that comes with scikit-learn."""
    found = load()
    columns = {f"c{i}": column.astype(float) for i, column in enumerate(found.data.T)}
    return columns | {"y": found.target}


def applications():
    whole, _ = synthetic.credit(800, seed=3)
    columns = {name: whole[name].combine_chunks() for name in whole.column_names}
    target = next(name for name in ("bad", "default", "target") if name in columns)
    return {("y" if name == target else name): column for name, column in columns.items()}


HEALTHY = {
    "mlp": lambda: (table(), {"model": MLP}),
    "mlp, few rows": lambda: (table(rows=200, seed=1), {"model": MLP}),
    "mlp, many rows": lambda: (
        table(rows=6000, columns=20, seed=2),
        {"model": MLP, "training": short(15)},
    ),
    "mlp, three classes": lambda: (table("multiclass", seed=3), {"model": MLP}),
    "mlp, regression": lambda: (table("regression", seed=4), {"model": MLP}),
    "mlp, weak signal": lambda: (table(rows=3000, noise=5.0, seed=5), {"model": MLP}),
    "mlp, one in eight": lambda: (table(rows=2000, rare=0.12, seed=6), {"model": MLP}),
    "mlp, tanh": lambda: (table(seed=7), {"model": MLP | {"activation": "tanh"}}),
    "mlp, sigmoid": lambda: (table(seed=8), {"model": MLP | {"activation": "sigmoid"}}),
    "mlp, gelu and batch norm": lambda: (
        table("multiclass", seed=9),
        {"model": MLP | {"activation": "gelu", "norm": "batch"}},
    ),
    "mlp, residual": lambda: (
        table("regression", seed=10),
        {"model": {"kind": "mlp", "widths": [64] * 6, "residual": True}},
    ),
    "mlp, sgd": lambda: (table(seed=11), {"model": MLP, "optimizer": {"kind": "sgd", "lr": 0.05}}),
    "mlp, muon": lambda: (
        table("regression", seed=12),
        {"model": MLP, "optimizer": {"kind": "muon"}},
    ),
    "perceptron": lambda: (table(seed=13), {"model": {"kind": "perceptron"}}),
    "tabm": lambda: (table(seed=14), {"model": {"kind": "tabm", "members": 4, "width": 32}}),
    "ft_transformer": lambda: (
        table(rows=600, columns=5, seed=15),
        {
            "model": {"kind": "ft_transformer", "width": 16, "depth": 2, "heads": 2},
            "training": short(40),
        },
    ),
    "cnn": lambda: (pictures(seed=16), {"model": CNN, "training": short(40)}),
    "hybrid": lambda: (
        pictures(800, seed=17),
        {
            "model": {"kind": "hybrid", "patch": [6, 6], "channels": 8, "width": 16},
            "training": short(40),
        },
    ),
    "rnn": lambda: (waves(800, seed=18), {"model": {"kind": "rnn", "width": 24}}),
    "lstm": lambda: (waves(800, seed=19), {"model": LSTM, "training": short(40)}),
    "gru": lambda: (waves(800, seed=20), {"model": LSTM | {"kind": "gru"}, "training": short(40)}),
    "tcn": lambda: (
        waves(800, seed=21),
        {"model": {"kind": "tcn", "width": 16, "layers": 3}, "training": short(25)},
    ),
    "transformer": lambda: (
        waves(800, 12, seed=22),
        {
            "model": {"kind": "transformer", "width": 32, "layers": 1, "heads": 2},
            "training": short(60),
        },
    ),
    "text, bag of words": lambda: (
        sentences(seed=23),
        {"model": {"kind": "bag_of_words", "width": 16, "buckets": 500}, **TEXT},
    ),
    "text, transformer": lambda: (
        sentences(800, seed=24),
        {
            "model": {"kind": "transformer", "width": 16, "layers": 1, "heads": 2},
            "training": short(30),
            **TEXT,
        },
    ),
    "breast cancer": lambda: (shipped(sklearn.datasets.load_breast_cancer), {"model": MLP}),
    "wine": lambda: (shipped(sklearn.datasets.load_wine), {"model": MLP}),
    "iris": lambda: (shipped(sklearn.datasets.load_iris), {"model": MLP}),
    "diabetes": lambda: (shipped(sklearn.datasets.load_diabetes), {"model": MLP}),
    "digits": lambda: (
        shipped(sklearn.datasets.load_digits),
        {"model": MLP, "training": short(25)},
    ),
    "credit": lambda: (applications(), {"model": MLP}),
}

QUICK_FAULTS = ("learning rate x100, mlp", "dead units, mlp", "a weight that is no number")
QUICK_HEALTHY = ("mlp", "mlp, regression", "lstm")


def named(fault):
    code, make = FAULTS[fault]
    columns, change, parts = make()
    return code, alarms(diagnose(columns, change, **parts))


@pytest.mark.parametrize("fault", QUICK_FAULTS)
def test_a_planted_fault_is_named(fault):
    code, told = named(fault)
    assert code in told


@pytest.mark.parametrize("run", QUICK_HEALTHY)
def test_a_healthy_run_raises_no_alarm(run):
    columns, parts = HEALTHY[run]()
    assert not alarms(diagnose(columns, **parts))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_at_least_95_percent_of_the_planted_faults_are_named():
    missed = {}
    for fault in FAULTS:
        code, told = named(fault)
        if code not in told:
            missed[fault] = told
    assert len(FAULTS) >= 20
    assert len(missed) <= 0.05 * len(FAULTS), missed


@pytest.mark.slow
@pytest.mark.parametrize("run", HEALTHY)
def test_no_healthy_run_raises_an_alarm(run):
    columns, parts = HEALTHY[run]()
    assert not alarms(diagnose(columns, **parts))
