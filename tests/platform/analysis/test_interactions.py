"""Interactions that were planted are found, and none where there are none."""

import numpy as np
import pytest

from pellucid.analysis.interactions import bins_of, interaction, strongest_partner


def planted(rows=500, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, 4)), random


def test_bins_are_of_equal_size_and_missing_values_are_one_more():
    numbers = np.append(np.arange(100.0), [np.nan] * 5)
    codes = bins_of(numbers, 4)
    assert np.bincount(codes).tolist() == [25, 25, 25, 25, 5]
    assert bins_of(np.full(3, np.nan), 4).tolist() == [0, 0, 0]
    assert bins_of(np.ones(4), 4).tolist() == [1, 1, 1, 1]


def test_the_partner_of_a_product_is_found():
    x, _ = planted()
    values = x[:, 0] * x[:, 2]
    others = [bins_of(x[:, i], 3) for i in (1, 2, 3)]
    place, strength = strongest_partner(values, bins_of(x[:, 0], 8), others)
    assert place == 1
    assert strength > 0.5


def test_all_that_is_left_can_be_told():
    random = np.random.default_rng(0)
    own, other = random.integers(0, 4, (2, 200))
    assert interaction((own * other).astype(float), own, other) == pytest.approx(1)


def test_a_main_effect_is_no_interaction():
    x, random = planted()
    codes = bins_of(x[:, 0], 8)
    assert interaction(codes.astype(float), codes, bins_of(x[:, 1], 3)) == 0
    chances = [
        interaction(random.normal(size=500), codes, bins_of(random.normal(size=500), 3))
        for _ in range(50)
    ]
    assert np.mean(chances) < 0.03  # the correction for the number of cells


def test_there_may_be_no_partner():
    assert strongest_partner(np.zeros(5), np.zeros(5, dtype=int), []) == (-1, 0.0)
    assert strongest_partner(np.zeros(5), np.zeros(5, dtype=int), [np.arange(5)]) == (-1, 0.0)
