from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pellucid.analysis.watching.drift import Levels, judge
from pellucid.analysis.watching.drift.simulation import (
    Column,
    draw,
    learn,
    mixed_columns,
    simulate,
)
from pellucid.analysis.watching.profiles import Profile, Tally
from pellucid.analysis.watching.signals import Status


def test_columns_are_of_the_kinds_that_were_asked_for():
    columns = mixed_columns()
    assert len(columns) == 50
    sizes = [len(each.shares) for each in columns if each.kind == "category"]
    assert (min(sizes), max(sizes)) == (2, 50)


def test_simulated_windows_are_judged_as_real_ones():
    columns = mixed_columns(6)
    after = [replace(columns[0], shift=0.3), replace(columns[1], missing=0.2), *columns[2:]]
    rows = {"reference_rows": 5000, "window_rows": 2000, "windows": 3, "bins": 50, "seed": 5}
    found = simulate(columns, after, **rows)

    rng = np.random.default_rng(5)
    reference, windows = {}, {}
    bins = {}
    for i, (old, new) in enumerate(zip(columns, after, strict=True)):
        known = learn(old, 5000, 50, rng)
        bins[str(i)], reference[str(i)] = known.bins, known.tally
        windows[str(i)] = draw(new, known, 2000, 3, rng)
    order = {"drift": 0, "output": 0, "missing": 1, "unseen": 2, "outside": 2}
    for window in range(3):
        tallies = {
            name: Tally(counts[window], int(missing[window]), int(outside[window]))
            for name, (counts, missing, outside) in windows.items()
        }
        signals = judge(
            Profile(bins, reference, 5000),
            Profile(bins, tallies, 2000),
            importance={},
            levels=Levels(),
            since={},
        )
        alarms = {
            (int(each.subject), order[each.kind]) for each in signals if each.status is Status.ALARM
        }
        assert alarms == set(map(tuple, np.argwhere(found[window]).tolist()))
        assert {(0, 0), (1, 1)} <= alarms


def test_drawn_counts_are_those_of_drawn_rows():
    rng = np.random.default_rng(6)
    column = Column(np.empty(0), shift=0.5)
    known = learn(column, 1000, 10, rng)
    counts, missing, outside = draw(column, known, 50_000, 1, rng)
    values = rng.normal(0.5, size=50_000)
    real = np.bincount(known.bins.edges.searchsorted(values), minlength=len(known.bins))
    assert stats.chi2_contingency([counts[0], real]).pvalue > 1e-4
    assert not missing.any()
    real_outside = ((values < known.bins.low) | (values > known.bins.high)).sum()
    assert abs(int(outside[0]) - real_outside) < 6 * np.sqrt(2 * real_outside + 1)


def test_power_at_5000_rows():
    columns = mixed_columns(50, 0.01)
    shifted = [replace(columns[0], shift=0.2), *columns[1:]]
    holes = [replace(columns[0], missing=0.03), *columns[1:]]
    many = {"reference_rows": 10_000, "window_rows": 5000, "windows": 40, "bins": 100}
    assert simulate(columns, shifted, **many)[:, 0, 0].mean() >= 0.95
    assert simulate(columns, holes, **many)[:, 0, 1].mean() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("window_rows", [50, 500, 5000, 1_000_000])
def test_a_false_alarm_in_at_most_one_year_of_twenty(window_rows):
    columns = mixed_columns()
    years = 100
    alarms = sum(
        simulate(
            columns, columns, reference_rows=10_000, window_rows=window_rows, bins=100, seed=year
        ).any()
        for year in range(years)
    )
    assert alarms <= stats.binom.ppf(0.999, years, 0.05)
