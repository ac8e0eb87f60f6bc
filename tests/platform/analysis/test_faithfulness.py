"""Measures of attributions: closed forms of linear models, brute force, and captum.metrics."""

import itertools
import math

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.explanation_scores import SCORES, failures, verdicts
from pellucid.analysis.faithfulness import (
    against_chance,
    curves,
    gap,
    infidelity,
    likeness,
    max_sensitivity,
    spearman,
)
from pellucid.analysis.games import joined, masked, random_sets, shapley_values

COUNT = 6
PLAYERS = np.arange(COUNT)


def generator(seed=0):
    return np.random.default_rng(seed)


def linear_game(seed=0, background=9):
    """The worth of a linear model's players, and its SHAP values: w (x - mean of b)."""
    random = generator(seed)
    slopes, row = random.normal(size=(2, COUNT))
    beside = random.normal(size=(background, COUNT))
    weights = random.dirichlet(np.ones(background))
    worth = masked(lambda rows: rows @ slopes, row, beside, weights, PLAYERS)
    return worth, slopes * (row - weights @ beside)


def network(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(COUNT, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    return torch.nn.Sequential(*layers).double().requires_grad_(False)


def network_game(seed=0):
    """The worth of a small network's players against one background row, and both rows."""
    model, (row, beside) = network(seed), generator(seed).normal(size=(2, COUNT))
    predict = lambda rows: model(torch.from_numpy(rows))[:, 0].numpy()  # noqa: E731
    return model, row, beside, masked(predict, row, beside[None], np.ones(1), PLAYERS)


def test_hidden_players_take_what_background_rows_have():
    row, beside = np.array([1.0, 2.0, 3.0]), np.array([[10.0, 20.0, 30.0], [50.0, 60.0, 70.0]])
    seen = []

    def predict(rows):
        seen.append(rows)
        return rows.sum(axis=1)

    worth = masked(predict, row, beside, np.array([0.25, 0.75]), np.array([0, 1, -1]))
    found = worth(np.array([[True, True], [False, True], [False, False]]))
    np.testing.assert_allclose(found, [6, 5 + 10 * 0.25 + 50 * 0.75, 3 + 30 * 0.25 + 110 * 0.75])
    np.testing.assert_array_equal(seen[0][2], [10, 2, 3])  # the last is never hidden


def test_many_sets_are_worked_off_in_pieces(monkeypatch):
    worth, _ = linear_game()
    sets = random_sets(COUNT, 50, generator())
    whole = worth(sets)
    monkeypatch.setattr("pellucid.analysis.games._HELD", 100)
    np.testing.assert_allclose(linear_game()[0](sets), whole, rtol=1e-12)


def test_the_gap_of_values_that_add_up_and_of_others():
    base, output = np.array([1.0, -2.0]), np.array([[3.0, 0.0], [1.0, -3.0]])
    values = np.stack([output - base, np.zeros((2, 2))], axis=1)
    assert gap(values, base, output) == (0.0, 0.0)
    values[0, 1, 1] = 0.3
    missed, relative = gap(values, base, output)
    assert missed == pytest.approx(0.3)
    assert relative == pytest.approx(0.3 / 1.5)  # the second output is 2 and 1 from its base
    assert math.isnan(gap(values * np.nan, base, output)[1])


def test_a_constant_model_has_a_gap_relative_to_its_output():
    output = np.full((3, 1), 5.0)
    values = np.full((3, 2, 1), 0.001)
    assert gap(values, np.array([5.0]), output)[1] == pytest.approx(0.002 / 0.005)
    assert gap(values * 0, np.zeros(1), output * 0) == (0.0, 0.0)


def test_shapley_values_of_a_linear_model_are_its_terms():
    worth, values = linear_game()
    np.testing.assert_allclose(shapley_values(worth, COUNT), values, atol=1e-12)


def test_shapley_values_are_the_mean_over_all_orders():
    *_, worth = network_game()
    expected = np.zeros(COUNT)
    orders = list(itertools.permutations(range(COUNT)))
    for order in orders:
        shown = np.arange(COUNT + 1)[:, None] > np.argsort(order)
        expected[list(order)] += np.diff(worth(shown)) / len(orders)
    np.testing.assert_allclose(shapley_values(worth, COUNT), expected, atol=1e-12)


def test_the_smallest_play_as_one():
    worth, values = linear_game()
    few, summed = joined(worth, values, 3)
    order = np.argsort(-np.abs(values))
    np.testing.assert_allclose(summed, [*values[order[:2]], values[order[2:]].sum()])
    np.testing.assert_allclose(shapley_values(few, 3), summed, atol=1e-12)
    assert joined(worth, values, COUNT) == (worth, values)


def test_deletion_and_insertion_of_a_linear_model():
    """Of a linear model every curve is a straight sum, and the largest first is the best order."""
    worth, values = linear_game()
    found = curves(worth, values, generator(), orders=200)
    everything, nothing = worth(np.array([[True] * COUNT, [False] * COUNT]))
    falling = np.sort(values)[::-1]
    expected = nothing + np.concatenate([[0], falling.cumsum()])
    assert found.insertion == pytest.approx(np.trapezoid(expected) / COUNT)
    hidden = everything - np.concatenate([[0], falling.cumsum()])
    assert found.deletion == pytest.approx(np.trapezoid(hidden) / COUNT)
    assert found.chance == pytest.approx((everything + nothing) / 2, abs=0.1)
    assert found.low <= nothing + values[values < 0].sum() + 1e-12
    assert found.high >= nothing + values[values > 0].sum() - 1e-12


def test_right_values_beat_chance_and_reversed_ones_are_worse():
    right, random, wrong = [], [], []
    for seed in range(40):
        worth, values = linear_game(seed)
        right.append(curves(worth, values, generator(seed)))
        random.append(curves(worth, generator(seed + 99).permutation(values), generator(seed)))
        wrong.append(curves(worth, -values, generator(seed)))
    assert min(against_chance(right)) > 0.3
    assert np.abs(against_chance(random)).max() < 0.1
    assert max(against_chance(wrong)) < -0.3


def test_nothing_is_gained_where_the_output_never_changes():
    found = curves(lambda shown: np.ones(len(shown)), np.arange(4.0), generator())
    assert np.isnan(against_chance([found])).all()
    assert np.isfinite(curves(lambda s: s[:, 0] * 1.0, np.ones(1), generator())).all()


@given(st.integers(1, 12), st.integers(1, 30))
def test_random_sets_hide_some_but_not_all(count, sets):
    hidden = random_sets(count, sets, generator(count))
    sizes = hidden.sum(axis=1)
    assert hidden.shape == (sets, count)
    assert (sizes >= 1).all()
    assert (sizes <= max(1, count - 1)).all()


def test_infidelity_is_zero_of_a_linear_model_and_one_of_all_zeros():
    worth, values = linear_game()
    hidden = random_sets(COUNT, 40, generator())
    missed, moved = infidelity(worth, values, hidden)
    assert missed == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(infidelity(worth, values * 0, hidden), (moved, moved))
    falls = hidden @ values
    assert infidelity(worth, 3 * values, hidden)[0] == pytest.approx(4 * (falls**2).mean())


def test_infidelity_is_captums():
    model, row, beside, worth = network_game()
    hidden = random_sets(COUNT, 24, generator(3))
    values = generator(4).normal(size=COUNT)

    def perturb(repeated):
        mask = torch.from_numpy(hidden)
        return mask.double(), torch.where(mask, torch.from_numpy(beside), repeated)

    expected = captum_infidelity(
        model,
        perturb,
        torch.from_numpy(row[None]),
        torch.from_numpy(values[None]),
        n_perturb_samples=len(hidden),
    )
    assert infidelity(worth, values, hidden)[0] == pytest.approx(float(expected), rel=1e-9)


def test_max_sensitivity_is_captums():
    model = network()
    rows = torch.from_numpy(generator().normal(size=(5, COUNT)))
    noise = torch.from_numpy(0.05 * generator(1).normal(size=(7, 5, COUNT)))

    def explain(inputs):
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            return torch.autograd.grad(model(inputs).sum(), inputs)[0] * inputs.detach()

    calls = itertools.count()

    def perturb(inputs):
        return (inputs + noise[next(calls)],)

    expected = sensitivity_max(
        lambda given: (explain(given[0]),), rows, perturb, n_perturb_samples=7,
        max_examples_per_batch=5,
    )  # fmt: skip
    noisy = np.stack([explain(rows + each).numpy() for each in noise])
    found = max_sensitivity(explain(rows).numpy(), noisy)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9)


def test_values_that_are_all_zero_have_no_sensitivity():
    assert np.isnan(max_sensitivity(np.zeros((1, 3)), np.ones((2, 1, 3)))).all()


def test_spearman():
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    others = np.array([[10, 20, 30, 99], [4, 3, 2, 1], [2, 2, 2, 2], [1, 1, 2, 3]])
    found = spearman(rising, others)
    np.testing.assert_allclose(found[:2], [1, -1])
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(np.corrcoef([1, 2, 3, 4], [1.5, 1.5, 3, 4])[0, 1])


@pytest.mark.parametrize("players", [4, 8, 30])
def test_likeness_is_one_of_what_stays_and_zero_by_chance(players):
    values = generator().normal(size=players)
    np.testing.assert_allclose(likeness(values, np.stack([values, 2 * values, -values])), 1)
    unrelated = np.stack([generator(i).permutation(values) for i in range(3000)])
    assert abs(likeness(values, unrelated).mean()) < 0.1


def test_few_players_have_no_likeness():
    assert np.isnan(likeness(np.arange(3.0), np.ones((2, 3)))).all()


def test_an_explanation_fails_by_its_gap_and_by_what_does_not_depend_on_the_model():
    good = {"relative_gap": 5e-5, "randomization": 0.1, "deletion": 0.4, "sensitivity": 0.02}
    assert set(verdicts(good, 1e-4).values()) == {"passes"}
    assert failures(good, 1e-4) == ()
    assert failures(good, 1e-5) == ("relative_gap",)
    assert failures(good | {"randomization": 0.9}, 1e-4) == ("randomization",)
    weak = good | {"deletion": -0.1, "insertion": 0.0, "infidelity": 1.2, "gap": 99.0}
    assert failures(weak, 1e-4) == ()
    found = verdicts(weak, 1e-4)
    assert list(found) == [name for name in SCORES if name in weak]
    assert [found[name] for name in ("gap", "deletion", "insertion", "infidelity")] == [
        "", "weak", "weak", "weak",
    ]  # fmt: skip
