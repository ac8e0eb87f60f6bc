import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from pellucid.analysis.watching.binning import bins_of_numbers
from pellucid.analysis.watching.drift import distances
from support.drifting import number_bins, tally

few = settings(max_examples=30, deadline=None)
counts = arrays(np.int64, 6, elements=st.integers(0, 1000)).filter(lambda each: each.sum() > 0)
every = (
    distances.kolmogorov_smirnov,
    distances.population_stability,
    distances.jensen_shannon,
    distances.total_variation,
)


@pytest.mark.parametrize("measure", every)
@few
@given(a=counts, b=counts)
def test_zero_of_itself_symmetric_and_of_shares_alone(measure, a, b):
    assert measure(a, 7 * a) == pytest.approx(0, abs=1e-7)
    assert measure(a, b) == pytest.approx(measure(b, a))
    assert measure(a, b) >= 0


@pytest.mark.parametrize("measure", every)
def test_many_windows_at_once(measure):
    rng = np.random.default_rng(0)
    reference, windows = rng.integers(1, 50, 8), rng.integers(1, 50, (3, 8))
    singly = [float(measure(reference, each)) for each in windows]
    assert measure(reference, windows) == pytest.approx(singly)


@pytest.mark.parametrize("measure", every)
def test_not_defined_of_nothing(measure):
    assert np.isnan(measure(np.array([3, 4]), np.array([0, 0])))


@few
@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=60),
    st.lists(st.integers(0, 20), min_size=2, max_size=60),
)
def test_kolmogorov_smirnov_is_scipys_where_every_value_is_an_edge(a, b):
    old, new = np.bincount(a, minlength=21), np.bincount(b, minlength=21)
    exact = stats.ks_2samp(a, b, method="asymp").statistic
    assert distances.kolmogorov_smirnov(old, new) == pytest.approx(exact)


def test_binned_kolmogorov_smirnov_loses_little():
    rng = np.random.default_rng(1)
    a, b = rng.lognormal(size=10_000), rng.lognormal(0.1, size=5000)
    bins = number_bins(a)
    found = distances.kolmogorov_smirnov(tally(a, bins).counts, tally(b, bins).counts)
    exact = stats.ks_2samp(a, b).statistic
    assert exact - 0.005 < found <= exact


def test_wasserstein_is_scipys_over_the_standard_deviation():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=20_000), rng.normal(0.7, size=20_000)
    bins = number_bins(a)
    found = distances.wasserstein(tally(a, bins).counts, tally(b, bins).counts, bins.edges)
    assert found == pytest.approx(stats.wasserstein_distance(a, b), rel=0.05)


def test_wasserstein_of_a_column_whose_middle_half_is_one_value():
    rng = np.random.default_rng(5)
    a = np.where(rng.random(3_000) < 0.6, 5.0, rng.normal(5, 1, 3_000))  # imputed by its median
    bins = bins_of_numbers(a)
    assert np.nextafter(5, 0) in bins.edges
    b = a + 1
    found = distances.wasserstein(tally(a, bins).counts, tally(b, bins).counts, bins.edges)
    assert 0.05 < found < 1  # of the whole range of its middle 99%


def test_one_outlier_hides_no_shift():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=10_000), rng.normal(1, size=5000)
    a[0] = 1e5
    bins = number_bins(a)
    old, new = tally(a, bins).counts, tally(b, bins).counts
    assert distances.kolmogorov_smirnov(old, new) == pytest.approx(0.383, abs=0.03)
    assert distances.wasserstein(old, new, bins.edges) == pytest.approx(1, abs=0.1)
    grouped = distances.grouped(old, new)
    assert distances.population_stability(*grouped) > 0.8


def test_published_examples():
    # expected and observed shares of three groups of income, PSI 0.0446
    psi = distances.population_stability(np.array([40, 30, 30]), np.array([35, 25, 40]))
    assert psi == pytest.approx(0.0446, abs=5e-5)
    # SciPy's reference gives 0.46450140402245893 nats
    js = distances.jensen_shannon(np.array([1, 0]), np.array([1, 1]))
    assert js == pytest.approx(0.46450140402245893 / np.sqrt(np.log(2)))


@few
@given(counts, counts)
def test_divergences_are_scipys(a, b):
    p, q = a / a.sum(), b / b.sum()
    assert distances.jensen_shannon(a, b) == pytest.approx(
        distance.jensenshannon(p, q, 2), abs=1e-7
    )
    a, b = a + 1, b + 1
    both = stats.entropy(a, b) + stats.entropy(b, a)
    assert distances.population_stability(a, b) == pytest.approx(both, abs=1e-9)


def test_groups_are_of_like_share():
    counts = np.array([500, 1, 1, 1, 1, 1, 495])
    old, new = distances.grouped(counts, np.array([1, 2, 3, 4, 5, 6, 7]), groups=2)
    assert old.tolist() == [500, 500]
    assert new.tolist() == [1, 27]


@few
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(0.05, 0.95))
def test_quantiles_lie_in_the_bin_of_the_exact_one(values, level):
    numbers = np.array(values)
    bins = number_bins(numbers, 10)
    found = distances.quantile(tally(numbers, bins).counts, bins.edges, level)
    exact = np.quantile(numbers, level, method="inverted_cdf")
    place = int(bins.edges.searchsorted(exact))
    low = bins.edges[max(place - 1, 0)]
    high = bins.edges[min(place, len(bins.edges) - 1)]
    assert low <= found <= high
