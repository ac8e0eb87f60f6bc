"""Bins learnt from reference rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count


def held(values, bins):
    return count({"x": np.asarray(values, float)}, {"x": bins}).tallies["x"]


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=300)
    | st.lists(st.integers(-3, 300), max_size=300)
)
def test_no_bin_is_empty_and_nothing_finite_is_outside(values):
    numbers = np.array(values, float)
    bins, finite = bins_of_numbers(numbers), np.isfinite(numbers)
    tally = held(numbers[finite], bins)
    assert (np.diff(bins.edges) > 0).all()
    assert tally.outside == 0
    assert tally.counts.sum() == finite.sum()
    assert (tally.counts > 0).all() or not finite.any()


def test_one_outlier_leaves_all_other_bins_as_they_are():
    values = np.random.default_rng(0).normal(size=10_000)
    plain, hurt = bins_of_numbers(values), bins_of_numbers(np.append(values[:-1], 1e5))
    assert len(plain) == len(hurt) == 100
    assert np.abs(plain.edges - hurt.edges).max() < 0.1
    counts = held(values, plain).counts
    assert counts.min() >= 95
    assert counts.max() <= 105


def test_frequent_values_have_bins_of_their_own():
    generator = np.random.default_rng(0)
    values = np.where(generator.random(10_000) < 0.3, 0.0, generator.normal(size=10_000))
    bins = bins_of_numbers(values)
    zero = np.searchsorted(bins.edges, 0.0)
    assert held(values, bins).counts[zero] == (values == 0).sum()
    moved = np.searchsorted(bins.edges, [-1e-12, 1e-12])
    assert zero not in moved


def test_few_whole_numbers_have_a_bin_each():
    values = np.repeat(np.arange(24.0), 5)
    assert held(values, bins_of_numbers(values)).counts.tolist() == [5] * 24
    many = np.arange(5_000.0)
    assert len(bins_of_numbers(many)) == 100


@pytest.mark.parametrize("values", [[], [np.nan], [3.5], [np.inf]])
def test_columns_with_one_value_or_none_have_one_bin(values):
    assert len(bins_of_numbers(np.array(values, float))) == 1


def test_few_rows_make_few_bins():
    assert len(bins_of_numbers(np.random.default_rng(0).normal(size=80))) == 10


def test_the_most_frequent_strings_come_first_and_the_others_share_a_bin():
    counts = {f"word {i:03}": 90_000 // (i + 1) for i in range(300)} | {"": 50}
    bins = bins_of_strings(counts)
    assert bins.closed
    assert bins.categories[:2] == ("word 000", "word 001")
    assert 150 < len(bins.categories) <= 200  # those near the cut may be there by chance
    assert len(bins.categories) + len(bins.rare) == 300
    few = bins_of_strings({name: counts[name] for name in list(counts)[:200]})
    assert (len(few.categories), few.rare) == (200, ())


@given(st.integers(0, 20))
def test_what_is_taken_is_as_frequent_in_other_rows(seed):
    generator = np.random.default_rng(seed)
    alike, other = (generator.multinomial(20_000, np.full(1_000, 1e-3)) for _ in range(2))
    bins = bins_of_strings({f"code {i}": count for i, count in enumerate(alike.tolist())})
    places = [int(name.removeprefix("code ")) for name in bins.categories]
    assert abs(alike[places].sum() - other[places].sum()) / 20_000 < 0.01


def test_names_and_ids_have_no_closed_list():
    names = bins_of_strings({"Smith": 40} | {f"name {i}": 1 for i in range(150)})
    assert (names.categories, names.rare, names.closed) == (("Smith",), (), False)
    assert not bins_of_strings({f"name {i}": 1 for i in range(1000)}).closed
    assert not bins_of_strings({f"street {i}": 9 for i in range(20_000)}).closed
    assert bins_of_strings({"once": 1, "often": 20}).closed
    assert bins_of_strings({}).closed


def test_labels_are_known_whatever_was_predicted():
    bins = bins_of_strings({"good": 9}, ["bad", "good", "ugly"])
    assert bins.categories == ("good", "bad", "ugly")
    assert bins.closed
