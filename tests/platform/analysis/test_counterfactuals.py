"""Counterfactuals against every combination of small spaces, and what must hold in any space."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.counterfactuals import ClassGoal, RangeGoal, search, tightened
from pellucid.bundle import ColumnReference
from pellucid.schema import Constraint

NUMBERS = [0.0, 1.0, 2.0, 3.0, 4.0]
NAMES = ("a", "b", "c")
HIGH = RangeGoal(low=0.0)


def number(values=NUMBERS, **limits):
    values = np.array(values, dtype=float)
    return ColumnReference(
        quantiles=tuple(np.quantile(values, np.linspace(0, 1, 21), method="inverted_cdf").tolist()),
        whole=bool((values == values.round()).all()),
        mad=float(abs(values - np.median(values)).mean()),
        **limits,
    )


def category(names=NAMES, **limits):
    return ColumnReference(categories=tuple(names), **limits)


def row_of(**values):
    return {
        name: np.array([value], dtype=object if isinstance(value, str) else float)
        for name, value in values.items()
    }


def linear(weights, bias=0.0):
    """A model of numbers, and of names by the weights that they have."""

    def predict(columns):
        total = np.full(len(next(iter(columns.values()))), bias)
        for name, weight in weights.items():
            column = columns[name]
            if isinstance(weight, dict):
                total = total + np.array([weight.get(each, 0.0) for each in column])
            else:
                total = total + weight * np.nan_to_num(column.astype(float))
        return {"value": total}

    return predict


class Table:
    """A model without any order in it: a random value for every row."""

    def __init__(self, seed, offset):
        self.seed, self.offset = seed, offset

    def __call__(self, columns):
        rows = zip(*columns.values(), strict=True)
        return {"value": np.array([self.value(row) for row in rows])}

    def value(self, row):
        words = [hash_of(each) for each in row]
        return np.random.default_rng([self.seed, *words]).normal() - self.offset


def hash_of(value):
    if isinstance(value, str):
        return 1000 + sum(map(ord, value))
    return 500 if value != value else int(value)


def allowed(reference, original):
    """Every value that a column of whole numbers or names may become."""
    if reference.change == "never":
        return []
    if reference.categories:
        return [each for each in reference.categories if each != original]
    if original != original and reference.change != "free":
        return []
    low = max(b for b in (reference.quantiles[0], reference.low) if b is not None)
    high = min(b for b in (reference.quantiles[-1], reference.high) if b is not None)
    found = [each for each in NUMBERS if low <= each <= high and each != original]
    if reference.change == "increase":
        return [each for each in found if each > original]
    if reference.change == "decrease":
        return [each for each in found if each < original]
    return found


def size_of(reference, original, value):
    if reference.categories or original != original:
        return 1.0
    return abs(value - original) / reference.mad


def smallest(predict, row, columns):
    """The number of columns and the size of the smallest change that suffices, by trying all."""
    originals = {name: value.tolist()[0] for name, value in row.items()}
    choices = [[originals[name], *allowed(columns[name], originals[name])] for name in row]
    best = None
    for values in itertools.product(*choices):
        changed = [name for name, v in zip(row, values, strict=True) if v is not originals[name]]
        if HIGH.met(predict(row_of(**dict(zip(row, values, strict=True)))))[0]:
            size = sum(
                size_of(columns[name], originals[name], dict(zip(row, values, strict=True))[name])
                for name in changed
            )
            best = min(best or (99, 0), (len(changed), round(size, 9)))
    return best


def changed_row(row, found):
    return row | row_of(**found.changes)


limits = st.sampled_from(
    [{}, {}, {"change": "never"}, {"change": "increase"}, {"change": "decrease"},
     {"low": 1.0}, {"high": 2.0}, {"low": 1.0, "high": 3.0}]
)  # fmt: skip
name_limits = st.sampled_from([{}, {}, {"change": "never"}])
numbers = st.sampled_from([*NUMBERS, float("nan")])


@given(
    seed=st.integers(0, 10_000),
    offset=st.floats(0, 2.5),
    first=numbers,
    second=st.sampled_from(NUMBERS),
    third=st.sampled_from([*NAMES, ""]),
    said=st.tuples(limits, limits, name_limits),
)
def test_it_is_the_smallest_of_all_in_a_small_space(seed, offset, first, second, third, said):
    row = row_of(x=first, y=second, z=third)
    columns = {"x": number(**said[0]), "y": number(**said[1]), "z": category(**said[2])}
    predict = Table(seed, offset)
    found = search(predict, row, columns, HIGH, budget=3000)
    expected = smallest(predict, row, columns)
    assert found.met == (expected == (0, 0))
    if expected is None or found.met:
        assert not found.counterfactuals
        assert not found.exhausted
    else:
        (best,) = found.counterfactuals
        assert (len(best.changes), round(best.size, 9)) == expected


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 4),
    budget=st.sampled_from([50, 400, 5000]),
)
def test_what_is_found_suffices_and_is_allowed(seed, count, budget):
    random = np.random.default_rng(seed)
    row, columns, weights = {}, {}, {}
    for i in range(random.integers(1, 12)):
        name = f"c{i}"
        change = str(random.choice(["free", "free", "never", "increase", "decrease"]))
        if random.random() < 0.3:
            names = [f"v{j}" for j in range(random.integers(2, 6))]
            weights[name] = {each: random.normal() for each in names}
            row |= row_of(**{name: str(random.choice([*names, "", "unseen"]))})
            columns[name] = category(names, change="never" if change == "never" else "free")
        else:
            scale = 10.0 ** random.integers(-6, 7)
            values = random.normal(random.normal(), 1, 200) * scale
            values = values.round() if random.random() < 0.4 else values
            low, high = np.sort(random.normal(0, 2, 2) * scale)
            bounds = {"low": low, "high": high} if random.random() < 0.3 else {}
            weights[name] = random.normal() / scale
            original = np.nan if random.random() < 0.1 else random.normal() * 2 * scale
            row |= row_of(**{name: original})
            columns[name] = number(values, change=change, **bounds)
    predict = linear(weights, bias=-abs(random.normal()) * 3)
    found = search(predict, row, columns, HIGH, count=count, budget=budget)
    assert found.rows <= budget
    assert len(found.counterfactuals) <= count
    assert found == search(predict, row, columns, HIGH, count=count, budget=budget)
    for each in found.counterfactuals:
        assert each.changes
        assert HIGH.met(predict(changed_row(row, each)))[0]
        for name, value in each.changes.items():
            check_change(columns[name], row[name].tolist()[0], value)


def check_change(reference, original, value):
    assert reference.change != "never"
    assert value != original
    if reference.categories:
        assert value in reference.categories
        return
    assert reference.quantiles[0] <= value <= reference.quantiles[-1]
    assert reference.low is None or value >= reference.low
    assert reference.high is None or value <= reference.high
    if reference.whole:
        assert value == round(value)
    if reference.change == "increase":
        assert value > original
    if reference.change == "decrease":
        assert value < original


def test_a_number_moves_no_further_than_it_must():
    columns = {"x": number(np.linspace(0, 100, 201))}
    found = search(linear({"x": 1.0}, bias=-63.21), row_of(x=10.0), columns, HIGH)
    (best,) = found.counterfactuals
    assert best.changes["x"] == pytest.approx(63.21, abs=columns["x"].mad / 50)
    assert best.changes["x"] >= 63.21
    assert best.size == pytest.approx((best.changes["x"] - 10) / columns["x"].mad)


def test_a_cheaper_column_is_moved_instead():
    # The same gain costs a tenth in y, which alone does not suffice.
    columns = {"x": number(np.arange(0, 101)), "y": number(np.arange(0, 101))}
    predict = linear({"x": 0.2, "y": 2.0}, bias=-205)
    (best,) = search(predict, row_of(x=0.0, y=0.0), columns, HIGH).counterfactuals
    assert best.changes == {"x": 25.0, "y": 100.0}


def test_booleans_stay_booleans():
    columns = {"flag": number([0, 0, 0, 1]), "other": number([0, 1, 1, 1])}
    predict = linear({"flag": 1.0, "other": -1.0}, bias=-1.0)
    (best,) = search(predict, row_of(flag=0.0, other=1.0), columns, HIGH).counterfactuals
    assert best.changes == {"flag": 1.0, "other": 0.0}
    assert best.size == 2


def test_several_differ_in_their_columns():
    columns = {name: number(np.arange(0, 11)) for name in "abcd"}
    predict = linear({"a": 1.0, "b": 1.1, "c": 1.2, "d": 0.1}, bias=-6)
    row = row_of(a=0.0, b=0.0, c=0.0, d=0.0)
    found = search(predict, row, columns, HIGH, count=3).counterfactuals
    assert [list(each.changes) for each in found] == [["c"], ["b"], ["a"]]


def test_where_one_set_of_columns_is_all_others_of_more_are_not_made_of_it():
    columns = {"a": number(), "b": number(), "c": number()}
    predict = linear({"a": 2.0, "b": 1.0, "c": 1.0}, bias=-5.5)
    found = search(predict, row_of(a=0.0, b=0.0, c=0.0), columns, HIGH, count=3).counterfactuals
    assert [list(each.changes) for each in found] == [["a"], ["b", "c"]]


def test_the_same_columns_may_change_to_different_categories():
    columns = {"z": category(("a", "b", "c"))}
    predict = linear({"z": {"b": 1.0, "c": 1.0}}, bias=-0.5)
    found = search(predict, row_of(z="a"), columns, HIGH, count=3).counterfactuals
    assert [each.changes for each in found] == [{"z": "b"}, {"z": "c"}]


def test_the_constraints_that_bind_are_named():
    columns = {"x": number(high=2.0), "y": number(change="never"), "z": number(change="never")}
    predict = linear({"x": 1.0, "y": 1.0, "z": 0.1}, bias=-3.5)
    found = search(predict, row_of(x=0.0, y=0.0, z=0.0), columns, HIGH)
    assert not found.counterfactuals
    assert found.binding == ("x", "y")
    assert not found.exhausted


def test_nothing_may_change():
    columns = {"x": number(change="never")}
    found = search(linear({"x": 1.0}, bias=-9), row_of(x=0.0), columns, HIGH)
    assert (found.counterfactuals, found.binding, found.met) == ((), (), False)


def test_the_other_columns_stay_as_they_are():
    seen = []

    def predict(columns):
        seen.extend(columns["image"].reshape(-1, 4).tolist())
        return linear({"x": 1.0}, bias=-2)(columns)

    row = row_of(x=0.0) | {"image": np.arange(4).reshape(1, 2, 2)}
    assert search(predict, row, {"x": number()}, HIGH).counterfactuals
    assert all(each == [0, 1, 2, 3] for each in seen)


def test_time_ends_a_search():
    columns = {name: number() for name in "abc"}
    calls = iter(range(100))
    found = search(
        linear({"a": 1.0, "b": 1.0, "c": 1.0}, bias=-11),
        row_of(a=0.0, b=0.0, c=0.0),
        columns,
        HIGH,
        expired=lambda: next(calls) > 1,
    )
    assert found.exhausted
    assert not found.counterfactuals


def test_hundreds_of_columns_fit_into_the_budget():
    names = [f"c{i}" for i in range(600)]
    random = np.random.default_rng(0)
    weights = dict(zip(names, random.normal(size=600), strict=True))
    columns = {name: number(random.normal(size=50)) for name in names}
    row = row_of(**dict.fromkeys(names, 0.0))
    found = search(linear(weights, bias=-12), row, columns, HIGH, budget=4000)
    (best,) = found.counterfactuals
    assert len(best.changes) == 2
    assert found.rows <= 4000


def test_a_class_is_asked_for_by_name_or_by_probability():
    shares = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
    outputs = {"probabilities": shares}
    assert ClassGoal((1,)).met(outputs).tolist() == [False, True, False]
    assert ClassGoal((1, 2)).met(outputs).tolist() == [False, True, True]
    assert ClassGoal((2,), probability=0.3).met(outputs).tolist() == [False, True, True]
    goals = [ClassGoal((1,)), ClassGoal((1, 2)), ClassGoal((2,), probability=0.25)]
    for goal in goals:
        assert ((goal.margin(outputs) >= 0) == goal.met(outputs)).all()
    assert ClassGoal((1,)).margin(outputs)[0] == pytest.approx(np.log(0.5), abs=1e-3)


def test_probabilities_of_0_have_a_margin():
    outputs = {"probabilities": np.array([[1.0, 0.0]], dtype=np.float32)}
    assert np.isfinite(ClassGoal((1,)).margin(outputs)).all()


def test_a_range_is_met_within_it():
    goal = RangeGoal(10, 20)
    outputs = {"value": np.array([9.0, 10.0, 15.0, 20.0, 21.0])}
    assert goal.met(outputs).tolist() == [False, True, True, True, False]
    assert (goal.margin(outputs) >= 0).tolist() == [False, False, True, False, False]
    assert RangeGoal(5, 5).margin({"value": np.array([5.0])})[0] >= 0


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [("free", "never", "never"), ("increase", "free", "increase"),
     ("increase", "decrease", "never"), ("decrease", "decrease", "decrease")],
)  # fmt: skip
def test_constraints_add_up(one, other, change):
    found = tightened(number(change=one, low=1), Constraint(change=other, low=0, high=3))
    assert (found.change, found.low, found.high) == (change, 1, 3)
