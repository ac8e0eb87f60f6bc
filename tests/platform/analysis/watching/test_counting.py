"""Counting rows: exact, whatever form they come in, and in any order of parts."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.watching.binning import bins_of_numbers
from pellucid.analysis.watching.counting import count, is_text
from pellucid.analysis.watching.profiles import Bins, Profile, from_json, to_json

BINS = {
    "amount": Bins("number", np.array([0.0, 10.0, 20.0]), low=-5.0, high=30.0),
    "purpose": Bins("category", categories=("car", "boat"), rare=("horse",)),
    "name": Bins("category", categories=("Ann",), closed=False),
}
numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=60)
texts = st.sampled_from(["car", "boat", "horse", "sledge", "", None])


def counted(amount, purpose=(), **options):
    columns = {"amount": np.array(amount, float), "purpose": np.array(purpose, object)}
    columns["name"] = np.full(len(amount), "Zoe", object)
    return count(columns, BINS, **options)


def same(one: Profile, other: Profile) -> bool:
    """Up to the rounding of sums, which depends on their order."""
    return counts_of(one) == counts_of(other)


def counts_of(profile):
    columns = {
        name: (tally.counts.tolist(), tally.missing, tally.outside, tally.wrong)
        for name, tally in profile.tallies.items()
    }
    groups = {
        (column, name): counts_of(each)
        for column, found in profile.groups.items()
        for name, each in found.items()
    }
    return profile.rows, columns, groups


def test_numbers_fall_into_the_bins_that_the_edges_name():
    tally = counted([0.0, 0.1, 10, 20, 20.1, np.inf, -np.inf, np.nan]).tallies["amount"]
    assert tally.counts.tolist() == [2, 2, 1, 2]
    assert (tally.missing, tally.outside, tally.wrong, tally.rows) == (1, 2, 0, 8)
    assert tally.total == pytest.approx(0 + 0.1 + 10 + 20 + 20.1 - 5 * 10)
    assert tally.squares == pytest.approx(100 + 9.9**2 + 0 + 100 + 10.1**2)


def test_strings_that_no_reference_row_had_are_outside_where_the_list_is_closed():
    values = ["car", "boat", "horse", "sledge", "", None]
    tally = counted([1.0] * 6, values).tallies["purpose"]
    assert tally.counts.tolist() == [1, 1, 2]
    assert (tally.missing, tally.outside, tally.wrong) == (2, 1, 0)
    assert counted([1.0]).tallies["name"].outside == 0


@given(st.lists(st.floats(-100, 100), max_size=200))
def test_numbers_as_a_lookup_of_each_would_count_them(values):
    expected = np.bincount(np.searchsorted(BINS["amount"].edges, values), minlength=4)
    tally = counted(values).tallies["amount"]
    assert tally.counts.tolist() == expected.tolist()
    assert tally.outside == sum(not -5 <= value <= 30 for value in values)


@given(st.lists(st.tuples(st.floats(width=32), texts), max_size=60), st.data())
def test_the_parts_of_any_split_add_up_to_the_whole(rows, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    sexes = np.array([["f", "m"][i % 2] for i in range(len(rows))], object)

    def profile(part, groups):
        columns = {"amount": [each[0] for each in part], "purpose": [each[1] for each in part]}
        return counted(*columns.values(), groups={"sex": groups}, grouped=("amount",))

    start, total = 0, Profile.empty(BINS)
    for part in parts:
        total += profile(part, sexes[start : start + len(part)])
        start += len(part)
    assert total.rows == len(rows)
    assert same(total, profile(rows, sexes))


@given(numbers, st.lists(texts, max_size=60))
def test_a_profile_survives_json(amounts, purposes):
    columns = {"amount": np.array(amounts, float), "purpose": np.array(purposes, object)}
    groups = {"sex": np.array(["f", "m"] * 60, object)[: len(amounts)]}
    profile = count(columns, BINS, groups=groups, grouped=("amount",))
    document = json.loads(json.dumps(to_json(profile), allow_nan=False))
    assert same(from_json(document), profile)
    assert same(from_json(json.loads(json.dumps(to_json(profile, bins=False))), BINS), profile)


@given(st.lists(texts, max_size=60))
def test_strings_count_the_same_in_every_form(values):
    forms = (
        np.array(values, object),
        pa.array(values, pa.string()),
        pa.array(values, pa.large_string()),
        pa.array(values, pa.string()).dictionary_encode(),
        pa.chunked_array([pa.array(values[:7], pa.string()), pa.array(values[7:], pa.string())]),
    )
    found = [count({"purpose": form}, BINS, rows=len(values)) for form in forms]
    assert all(same(each, found[0]) for each in found)
    assert all(is_text(form) for form in forms[1:])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([5, None, 15], pa.int8()),
        pa.array([5.0, None, 15.0], pa.float32()),
        pa.array([5, None, 15]).dictionary_encode(),
        pa.chunked_array([[5], [None, 15]]),
        pa.array([5, None, 15]).cast(pa.decimal128(22, 1)),
        np.array([5.0, np.nan, 15.0], np.float32),
        np.array([5, None, np.int8(15)], object),
    ],
)
def test_numbers_count_the_same_in_every_form(column):
    tally = count({"amount": column}, BINS).tallies["amount"]
    assert tally.counts.tolist() == [0, 1, 1, 0]
    assert (tally.missing, tally.wrong) == (1, 0)


def test_times_are_seconds_and_booleans_are_0_and_1():
    moment = datetime(1970, 1, 1, 0, 0, 15, tzinfo=UTC)
    forms = (
        pa.array([moment, None], pa.timestamp("us", "UTC")),
        pa.array([moment.replace(tzinfo=None), None], pa.timestamp("s")),
        np.array(["1970-01-01T00:00:15", "NaT"], "datetime64[s]"),
        np.array([moment, None], object),
    )
    for form in forms:
        tally = count({"amount": form}, BINS).tallies["amount"]
        assert (tally.counts.tolist(), tally.missing) == ([0, 0, 1, 0], 1)
    days = count({"amount": pa.array([0], pa.date32())}, BINS).tallies["amount"]
    assert days.counts.tolist() == [1, 0, 0, 0]
    for form in (np.array([True, False]), pa.array([True, False])):
        assert count({"amount": form}, BINS).tallies["amount"].counts.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["5", None, "x"]),
        pa.array([[5.0], None, []]),
        pa.array([{"a": 5}, None, {"a": 1}]),
        np.array(["5", None, [1]], object),
        pa.array(["5", None, "x"]).dictionary_encode(),
    ],
)
def test_what_is_no_number_is_wrong(column):
    tally = count({"amount": column}, BINS).tallies["amount"]
    assert (tally.counts.sum(), tally.missing, tally.wrong, tally.rows) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([5, None, 6]),
        pa.array([True, None, False]),
        pa.array([5, None, 6]).dictionary_encode(),
        np.array([5.0, np.nan, 6.0]),
        np.array([5, None, ["car"]], object),
    ],
)
def test_what_is_no_string_is_wrong(column):
    tally = count({"purpose": column}, BINS).tallies["purpose"]
    assert (tally.counts.sum(), tally.missing, tally.wrong, tally.rows) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.decimal256(40, 2)),
        *(pa.date32(), pa.date64(), pa.timestamp("ns"), pa.timestamp("ms", "Asia/Tokyo")),
        *(pa.time32("s"), pa.time64("us"), pa.duration("s"), pa.month_day_nano_interval()),
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary(4), pa.null()),
        *(pa.list_(pa.int8()), pa.list_(pa.string(), 2), pa.map_(pa.string(), pa.int8())),
        *(pa.struct([("a", pa.int8())]), pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_no_type_of_column_is_a_surprise(kind):
    column = pa.nulls(5, kind)
    for tally in count({"amount": column, "purpose": column[1:]}, BINS, rows=5).tallies.values():
        assert tally.counts.sum() == tally.wrong == 0
        assert tally.missing > 0


def test_a_column_of_nothing_is_missing():
    for column in (pa.nulls(3), pa.nulls(3, pa.string()), np.full(3, None, object)):
        found = count({"amount": column, "purpose": column}, BINS).tallies
        assert [found[name].missing for name in BINS] == [3, 3, 3]
        assert [found[name].wrong for name in BINS] == [0, 0, 0]
    assert count({}, BINS, rows=4).tallies["amount"].missing == 4
    assert count({}, BINS).rows == 0


def test_profiles_in_other_bins_do_not_add_up():
    other = {**BINS, "amount": bins_of_numbers(np.arange(9.0))}
    with pytest.raises(ValueError, match="same bins"):
        Profile.empty(BINS) + Profile.empty(other)
    with pytest.raises(ValueError, match="same bins"):
        Profile.empty(BINS) + Profile.empty({"amount": BINS["amount"]})
    with pytest.raises(ValueError, match="other bins"):
        from_json(to_json(Profile.empty(BINS), bins=False), other)


def test_a_number_too_large_to_square_makes_a_sum_that_is_not_known():
    profile = counted([1e300, 1.0])
    document = json.loads(json.dumps(to_json(profile), allow_nan=False))
    assert document["tallies"]["amount"]["squares"] is None
    assert np.isnan(from_json(document).tallies["amount"].squares)


def test_a_null_in_a_dictionary_is_missing_and_no_new_string():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None]), pa.array(["car", None]))
    bins = Bins("category", categories=("car",))
    found = count({"purpose": column}, {"purpose": bins}).tallies["purpose"]
    assert (found.counts.tolist(), found.missing, found.outside) == ([1, 0], 3, 0)
