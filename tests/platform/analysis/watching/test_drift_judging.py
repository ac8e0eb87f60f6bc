from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.analysis.watching.drift import Levels, judge, ongoing
from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.analysis.watching.signals import Signal, Status
from support.drifting import profiles, tally

START = datetime(2026, 3, 1, tzinfo=UTC)


def verdicts(reference, window, **more) -> dict[str, Signal]:
    given = {"importance": {}, "levels": Levels(), "since": {}, "start": START} | more
    return {each.key: each for each in judge(*profiles(reference, window), **given)}


def strings(rng, size, shares) -> list[str]:
    return rng.choice([f"c{i}" for i in range(len(shares))], size, p=shares).tolist()


def test_a_shift_is_told_in_plain_words():
    rng = np.random.default_rng(0)
    reference = {"income": rng.lognormal(10.3, 0.5, 10_000), "age": rng.normal(40, 10, 10_000)}
    window = {"income": rng.lognormal(10.5, 0.5, 5000), "age": rng.normal(40, 10, 5000)}
    found = verdicts(reference, window, importance={"income": 0.12, "age": 0.5})
    income = found["drift:income"]
    assert income.status is Status.ALARM
    assert income.summary.startswith("income: values are higher; median moved from 29.")
    assert income.summary.endswith("; it carries 12% of the model's decisions.")
    assert income.statistic == "ks"
    assert income.effect is not None
    assert income.effect == pytest.approx(income.measures["ks"])
    assert income.low < income.current < income.high
    assert income.since == START
    assert found["drift:age"].status is Status.OK
    assert found["drift:age"].since is None
    assert {each.status for key, each in found.items() if key != "drift:income"} == {Status.OK}


@pytest.mark.parametrize(("factor", "words"), [(0.01, "to at most 2"), (100, "to at least 99")])
def test_a_median_beyond_the_range_is_a_limit(factor, words):
    """What lies beyond is counted, not measured: a wrong unit has no median that is known."""
    values = np.random.default_rng(0).uniform(2000, 10_000, 5000)
    found = verdicts({"income": values}, {"income": factor * values})["drift:income"]
    assert words in found.summary


@pytest.mark.parametrize(
    ("scale", "words"), [(2.0, "values are more spread out"), (0.5, "values are less spread out")]
)
def test_a_spread_is_no_shift(scale, words):
    rng = np.random.default_rng(1)
    found = verdicts({"x": rng.normal(size=5000)}, {"x": rng.normal(0, scale, 5000)})
    assert words in found["drift:x"].summary


def test_one_outlier_in_the_reference_hides_nothing():
    rng = np.random.default_rng(2)
    values = rng.normal(size=10_000)
    values[17] = 1e5
    found = verdicts({"x": values}, {"x": rng.normal(1, 1, 500)})["drift:x"]
    assert found.status is Status.ALARM
    assert found.measures["wasserstein"] == pytest.approx(1, abs=0.15)


def test_categories_by_those_that_grew_and_shrank():
    rng = np.random.default_rng(3)
    found = verdicts(
        {"city": strings(rng, 10_000, [0.5, 0.3, 0.2])},
        {"city": strings(rng, 5000, [0.35, 0.3, 0.35])},
    )["drift:city"]
    assert found.status is Status.ALARM
    assert found.statistic == "total_variation"
    assert found.effect == pytest.approx(0.15, abs=0.02)
    assert found.summary.startswith("city: 'c2' rose from ")
    assert "'c0' fell from " in found.summary


@pytest.mark.parametrize("kind", ["missing", "unseen", "outside", "type"])
def test_shares_are_signals_of_their_own(kind):
    rng = np.random.default_rng(4)
    numbers, new = rng.normal(size=10_000), rng.normal(size=5000)
    words = strings(rng, 10_000, [0.5, 0.5])
    newer: list = strings(rng, 5000, [0.5, 0.5])
    if kind == "missing":
        numbers[:100] = np.nan
        new[:150] = np.nan
    if kind == "outside":
        new[:150] = 50
    if kind == "unseen":
        newer[:150] = ["new"] * 150
    old, now = profiles({"x": numbers, "c": words}, {"x": new, "c": newer})
    if kind == "type":
        now = Profile(now.bins, now.tallies | {"x": tally(new[150:], now.bins["x"], 150)}, 5000)
    found = judge(old, now, importance={}, levels=Levels(), since={}, start=START)
    assert [each.kind for each in found if each.status is Status.ALARM] == [kind]
    assert found[0].kind == kind
    assert found[0].current == pytest.approx(0.03, abs=0.001)
    assert found[0].low < 0.03 < found[0].high
    assert "3." in found[0].summary


def test_a_missing_rate_may_fall():
    rng = np.random.default_rng(5)
    gaps, full = rng.normal(size=5000), rng.normal(size=5000)
    gaps[:1000] = np.nan
    found = verdicts({"x": gaps}, {"x": full})["missing:x"]
    assert found.status is Status.ALARM
    assert found.summary == "x: missing in 0% of rows; it was 20%."


def test_few_rows_are_unclear_and_many_with_a_small_difference_are_ok():
    rng = np.random.default_rng(6)
    reference = {"x": rng.normal(size=100_000), "c": strings(rng, 100_000, [0.2] * 5)}
    few = {"x": rng.normal(size=50), "c": strings(rng, 50, [0.2] * 5)}
    assert {each.status for each in verdicts(reference, few).values()} == {Status.UNCLEAR}
    assert verdicts(reference, few)["drift:x"].summary.startswith(
        "x: 50 values against 100,000 of the reference are too few to "
    )
    many = {"x": rng.normal(0.05, 1, 200_000), "c": strings(rng, 200_000, [0.22, 0.18, *[0.2] * 3])}
    found = verdicts(reference, many)
    assert found["drift:x"].status is Status.OK
    assert found["drift:x"].p_value < 1e-6
    assert found["drift:c"].status is Status.OK
    assert found["drift:c"].p_value < 1e-6


def test_ok_is_seldom_said_of_a_difference_that_matters():
    rng = np.random.default_rng(7)
    shift = 2 * 0.0627  # a Kolmogorov-Smirnov distance of 0.05
    reference = {str(i): rng.normal(size=10_000) for i in range(100)}
    window = {str(i): rng.normal(shift, 1, 4000) for i in range(100)}
    found = verdicts(reference, window)
    said = [each for each in found.values() if each.kind == "drift" and each.status is Status.OK]
    assert len(said) <= 11


def test_ok_is_seldom_said_of_many_small_differences_that_matter_together():
    rng, said = np.random.default_rng(8), 0
    before, after = np.full(50, 0.02), np.repeat([0.022004, 0.017996], 25)  # 0.0501 in all
    bins = {"city": Bins("category", categories=tuple(map(str, range(49))))}
    for _ in range(300):
        old, new = (Tally(rng.multinomial(10_000, each)) for each in (before, after))
        found = judge(
            Profile(bins, {"city": old}, 10_000),
            Profile(bins, {"city": new}, 10_000),
            importance={},
            levels=Levels(),
            since={},
        )
        said += {each.key: each for each in found}["drift:city"].status is Status.OK
    assert said / 300 < 0.08  # one in twenty


def test_what_matters_most_comes_first():
    rng = np.random.default_rng(8)
    reference = {name: rng.normal(size=5000) for name in "abcd"}
    reference["outputs.value"] = rng.normal(size=5000)
    shifts = {"a": 2.0, "b": 0.5, "c": 0.0, "d": 1.0, "outputs.value": 0.3}
    window = {name: rng.normal(by, 1, 5000) for name, by in shifts.items()}
    importance = {"a": 0.01, "b": 0.6, "c": 0.3, "d": 0.2}
    found = judge(*profiles(reference, window), importance=importance, levels=Levels(), since={})
    drifted = [each.subject for each in found if each.kind in ("drift", "output")]
    assert drifted == ["b", "outputs.value", "d", "a", "c"]
    assert [each.kind for each in found].count("output") == 1
    order = [each.status for each in found]
    assert order == sorted(order, key=[Status.ALARM, Status.UNCLEAR, Status.OK].index)


def test_an_alarm_goes_on_since_it_began():
    rng = np.random.default_rng(9)
    rows = {"x": rng.normal(size=5000)}
    windows = [rng.normal(1, 1, 5000), rng.normal(1, 1, 1), rng.normal(1, 1, 5000), rows["x"]]
    since: dict[str, datetime] = {}
    begun = []
    for hour, values in enumerate(windows):
        start = START + timedelta(hours=hour)
        signals = verdicts(rows, {"x": values}, since=since, start=start)
        begun.append(signals["drift:x"].since)
        since = ongoing(since, signals.values())
    assert begun == [START, None, START, None]
    assert "drift:x" not in since


def empty(bins: Bins, missing: int = 0) -> Tally:
    return Tally(np.zeros(len(bins), int), missing)


NUMBERS = np.arange(1000.0)
ODD = [
    np.array([]),
    np.array([5.0]),
    np.full(1000, 5.0),
    np.full(1000, np.nan),
    np.array([np.inf, -np.inf] * 500),
    np.where(np.arange(1000) % 2, 1e308, -1e308),
    NUMBERS,
]


@pytest.mark.parametrize("old", range(len(ODD)))
@pytest.mark.parametrize("new", range(len(ODD)))
def test_odd_numbers_have_a_verdict(old, new):
    found = verdicts({"x": ODD[old]}, {"x": ODD[new]})
    assert set(found) == {"drift:x", "missing:x", "outside:x", "type:x"}  # and no NaN: see Signal
    assert all(each.summary.endswith(".") for each in found.values())
    if old == new:
        assert not [each for each in found.values() if each.status is Status.ALARM]
    if not len(ODD[new]):
        assert {each.status for each in found.values()} <= {Status.UNCLEAR, Status.ABSENT}


WORDS = [[], ["a"], ["a"] * 1000, [None] * 1000, [str(i) for i in range(1000)], ["b"] * 1000]


@pytest.mark.parametrize("old", range(len(WORDS)))
@pytest.mark.parametrize("new", range(len(WORDS)))
def test_odd_strings_have_a_verdict(old, new):
    found = verdicts({"c": WORDS[old]}, {"c": WORDS[new]})
    assert set(found) == {"drift:c", "missing:c", "unseen:c", "type:c"}
    if old == new:
        assert not [each for each in found.values() if each.status is Status.ALARM]


def test_constant_column_that_changed():
    found = verdicts({"c": WORDS[2], "x": ODD[2]}, {"c": WORDS[5], "x": np.full(1000, 7.0)})
    alarms = {key for key, each in found.items() if each.status is Status.ALARM}
    assert alarms >= {"drift:c", "unseen:c", "outside:x"}
    constant = Bins("number", np.empty(0), 5, 5)
    pair = [
        Profile({"x": constant}, {"x": tally(each, constant)}, 1000) for each in (ODD[2], NUMBERS)
    ]
    found = {each.key: each for each in judge(*pair, importance={}, levels=Levels(), since={})}
    assert found["drift:x"].status is Status.ALARM
    assert found["drift:x"].effect == pytest.approx(0.999)
    assert "100% of values are not 5, the reference's only one" in found["drift:x"].summary


def test_what_cannot_be_told_says_why():
    rng = np.random.default_rng(10)
    old, new = profiles({"x": rng.normal(size=100)}, {"x": rng.normal(size=100)})
    missing = Profile({}, {}, 100)
    (found,) = judge(old, missing, importance={}, levels=Levels(), since={})
    assert (found.status, found.summary) == (Status.ABSENT, "x: not in the window.")
    other = Profile(new.bins, {"x": Tally(np.ones(3, int))}, 3)
    (found,) = judge(old, other, importance={}, levels=Levels(), since={})
    assert found.status is Status.ABSENT
    names = Bins("category", categories=("a",), closed=False)
    both = Profile({"n": names}, {"n": Tally(np.array([5000, 5000]))}, 10_000)
    found = {each.key: each for each in judge(both, both, importance={}, levels=Levels(), since={})}
    assert found["unseen:n"].status is Status.ABSENT
    assert judge(missing, missing, importance={}, levels=Levels(), since={}) == []


def test_strings_that_are_often_new_are_no_alarm():
    """Half of all names occur once: so half of a window's are new."""
    rng = np.random.default_rng(11)
    draws = rng.zipf(1.5, 15_000)
    reference = [str(each) for each in draws[:10_000]]
    window = [str(each) for each in draws[10_000:]]
    found = verdicts({"name": reference}, {"name": window})["unseen:name"]
    assert found.current > 0.03
    assert found.status is not Status.ALARM


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
    st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_any_counts_have_a_verdict(old, new, missing, outside):
    for bins in (Bins("number", np.arange(4.0), -1, 5), Bins("category", categories=tuple("abcd"))):
        pair = (
            Tally(np.array(old), missing),
            Tally(np.array(new), outside % 7, min(outside, sum(new)), missing % 5),
        )
        rows = [Profile({"x": bins}, {"x": each}, each.rows) for each in pair]
        for found in judge(*rows, importance={"x": 1.0}, levels=Levels(), since={}):
            assert found.effect is None or 0 <= found.effect <= 1
            assert found.p_value is None or 0 <= found.p_value <= 1


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0}, {"alpha": 1}, {"windows_per_year": 0}, {"effects": {"drift": -1}}]
)
def test_levels_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"alpha|windows|effects"):
        Levels(**wrong)


def test_effects_can_be_set_by_kind():
    rng = np.random.default_rng(12)
    old, new = {"x": rng.normal(size=5000)}, {"x": rng.normal(0.5, 1, 5000)}
    assert verdicts(old, new)["drift:x"].status is Status.ALARM
    found = verdicts(old, new, levels=Levels(effects={"drift": 0.4}))["drift:x"]
    assert (found.status, found.threshold) == (Status.OK, 0.4)
