"""Preprocessing against scikit-learn and pandas, and what it must never do."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)

from pellucid import plan
from pellucid.datasets import synthetic
from pellucid.datasets.splits import Parts
from pellucid.plan import Plan, resolve
from pellucid.schema import Column, Kind
from pellucid_pipelines import data
from pellucid_pipelines.curves import Curve, interpolate
from pellucid_pipelines.preprocessing import Tabular
from support.training import schema_of

RANDOM = np.random.default_rng(0)
TIMESTAMP = pa.timestamp("us", "UTC")


def fit(table, **choices):
    columns = schema_of(table, {}).columns
    return Tabular.fit(table, columns, plan.Preprocessing(**choices))


def dense(preprocessing, table, name=None):
    values = preprocessing(preprocessing.encode(table)).numpy()
    return values if name is None else values[:, preprocessing.features.blocks[name]]


def numbers(count=400, missing=0.2):
    values = RANDOM.lognormal(3, 1, count)
    values[RANDOM.random(count) < missing] = np.nan
    return values


@pytest.mark.parametrize("impute", ["median", "mean"])
def test_standardising_agrees_with_scikit_learn(impute):
    train, test = numbers(), np.array([np.nan, 0.0, 5.0, 100.0])
    fitted = fit(pa.table({"x": train}), impute=impute)
    reference = make_pipeline(SimpleImputer(strategy=impute), StandardScaler())
    reference.fit(train[:, None])
    for rows in (train, test):
        got = dense(fitted, pa.table({"x": rows}))
        expected = reference.transform(rows[:, None])[:, 0].clip(-10, 10)
        np.testing.assert_allclose(got[:, 0], expected, atol=1e-6)
        np.testing.assert_array_equal(got[:, 1], np.isnan(rows))


def test_min_max_agrees_with_scikit_learn_and_clips():
    train, test = numbers(missing=0), np.array([-1e9, 5.0, 100.0, 1e9])
    fitted = fit(pa.table({"x": train}), numeric=plan.MinMax())
    reference = MinMaxScaler(clip=True).fit(train[:, None])
    got = dense(fitted, pa.table({"x": test}))
    np.testing.assert_allclose(got, reference.transform(test[:, None]), atol=1e-6)


@pytest.mark.parametrize("quantiles", [2, 7, 100])
def test_quantiles_agree_with_scikit_learn(quantiles):
    train, test = numbers(missing=0), numbers(missing=0)
    fitted = fit(pa.table({"x": train}), numeric=plan.Quantile(quantiles=quantiles))
    reference = QuantileTransformer(n_quantiles=quantiles, subsample=None).fit(train[:, None])
    shares = reference.transform(test[:, None])[:, 0]
    knots = (np.linspace(0, 1, quantiles), norm.ppf(np.linspace(0, 1, quantiles)))
    half = 0.5 / len(train)
    knots[1][[0, -1]] = norm.ppf([half, 1 - half])
    got = dense(fitted, pa.table({"x": test}))[:, 0]
    np.testing.assert_allclose(got, np.interp(shares, *knots), atol=1e-5)


def test_quantiles_of_repeated_values():
    values = np.array([0.0] * 60 + [1.0] * 30 + [2.0] * 10)
    fitted = fit(pa.table({"x": values}), numeric=plan.Quantile())
    got = dense(fitted, pa.table({"x": [0.0, 0.5, 1.0, 2.0, math.inf]}))[:, 0]
    assert np.isfinite(got).all()
    assert list(np.argsort(got[:4])) == [0, 1, 2, 3]
    assert got[3] == got[4]
    assert norm.cdf(got[0]) == pytest.approx(0.3, abs=0.02)  # the middle of its share of 0.6


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40, unique=True),
    st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20),
)
def test_interpolation_agrees_with_numpy(knots, points):
    knots = np.sort(np.array(knots))
    curves = Curve.stacked([Curve(knots, np.sin(knots)), Curve.unit()])
    x = torch.tensor(points, dtype=torch.float64).unsqueeze(1).expand(-1, 2)
    got = interpolate(x, torch.from_numpy(curves.knots), torch.from_numpy(curves.levels)).numpy()
    np.testing.assert_allclose(got[:, 0], np.interp(points, knots, np.sin(knots)), atol=1e-9)
    np.testing.assert_allclose(got[:, 1], np.clip(points, 0, 1), atol=1e-12)


def test_one_hot_agrees_with_scikit_learn():
    texts = RANDOM.choice(list("abcde"), 200)
    got = dense(fit(pa.table({"c": texts})), pa.table({"c": texts}))
    expected = OneHotEncoder(sparse_output=False).fit_transform(texts[:, None])
    np.testing.assert_array_equal(got, expected)


def test_rare_missing_and_unseen_categories():
    train = pa.table({"c": ["a"] * 5 + ["b"] * 3 + ["once", None, ""]})
    fitted = fit(train)
    assert fitted.inputs[0].categories == ("a", "b")
    got = dense(fitted, pa.table({"c": ["a", "b", None, "", "once", "never seen"]}))
    np.testing.assert_array_equal(got, np.eye(4)[[0, 1, 2, 2, 3, 3]])


def test_only_the_most_frequent_categories_are_known():
    train = pa.table({"c": ["rare"] * 2 + ["b"] * 5 + ["a"] * 4})
    assert fit(train, max_categories=2).inputs[0].categories == ("a", "b")


def test_a_bucket_without_training_rows_gives_zeros():
    fitted = fit(pa.table({"c": ["a", "a", "b", "b"], "x": [1.0, 2.0, 3.0, 4.0]}))
    assert fitted.width == 3
    got = dense(fitted, pa.table({"c": ["zebra", None], "x": [2.5, None]}))
    np.testing.assert_array_equal(got, np.zeros((2, 3)))


def test_booleans():
    train = pa.table({"b": pa.array([True, False, None, True])})
    got = dense(fit(train), pa.table({"b": [1.0, 0.0, math.nan, 7.0]}))
    np.testing.assert_allclose(got, [[1, 0], [0, 0], [2 / 3, 1], [1, 0]], atol=1e-6)


def test_datetimes():
    times = pd.date_range("2023-12-30 05:30", periods=500, freq="37h37min")
    table = pa.table({"t": pa.array(times, TIMESTAMP)})
    got = dense(fit(table), table)
    seconds = ((times - pd.Timestamp(0)) / pd.Timedelta("1s")).to_numpy()
    expected = (seconds - seconds.mean()) / seconds.std()
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-6)
    day = (times.hour + times.minute / 60) / 24
    week = ((times.day_of_week - 3) % 7 + day) / 7  # 1970-01-01 was a Thursday
    for k, turns in enumerate([day, week]):
        np.testing.assert_allclose(got[:, 1 + k], np.sin(2 * np.pi * turns), atol=1e-5)
        np.testing.assert_allclose(got[:, 4 + k], np.cos(2 * np.pi * turns), atol=1e-5)
    year = np.arctan2(got[:, 3], got[:, 6]) / (2 * np.pi) % 1
    difference = np.abs(year - (times.day_of_year - 1 + day) / 365.25)
    assert np.minimum(difference, 1 - difference).max() < 0.01


def test_missing_and_constant_parts_of_datetimes_are_zero():
    days = pa.array([i * 86_400_000_000 for i in range(30)] + [None], TIMESTAMP)
    fitted = fit(pa.table({"t": days}))
    got = dense(fitted, pa.table({"t": days}))
    assert got.shape == (31, 8)
    np.testing.assert_array_equal(got[:, [1, 4]], 0)  # always midnight
    np.testing.assert_array_equal(got[-1], [0] * 7 + [1])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3.0] * 4),
        pa.array([0.1] * 4),
        pa.array([None] * 4, pa.float64()),
        pa.array([math.inf] * 4),
        pa.array(["same"] * 4),
        pa.array([None] * 4, pa.string()),
        pa.array([True] * 4),
        pa.array([7] * 4, TIMESTAMP),
        pa.array([1e-200, 2e-200, 3e-200, 4e-200]),
    ],
)
@pytest.mark.parametrize("scaling", [plan.Standardize(), plan.MinMax(), plan.Quantile()])
def test_a_constant_or_empty_column_is_zero(column, scaling):
    table = pa.table({"c": column})
    got = dense(fit(table, numeric=scaling), table)
    assert np.isfinite(got).all()
    if column[0].as_py() != 1e-200:
        np.testing.assert_array_equal(got, 0)


def test_infinities_in_training_do_not_spoil_the_scale():
    clean = RANDOM.normal(size=100)
    table = pa.table({"x": np.append(clean, [math.inf, -math.inf])})
    got = dense(fit(table), table)[:, 0]
    np.testing.assert_array_equal(got[-2:], [10, -10])
    assert got[:-2].std() > 0.5


@pytest.mark.parametrize("scaling", [plan.Standardize(), plan.MinMax(), plan.Quantile()])
def test_nothing_explodes_when_serving(scaling):
    fitted = fit(pa.table({"x": numbers(missing=0)}), numeric=scaling)
    got = dense(fitted, pa.table({"x": [math.inf, -math.inf, 1e308, -1e308, math.nan]}))
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 10


CELLS = {
    pa.float64(): st.floats(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    TIMESTAMP: st.integers(-(2**63), 2**63 - 1),
    pa.string(): st.text(max_size=3),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 12))
    types = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=6))
    columns = {}
    for i, kind in enumerate(types):
        cells = st.lists(st.none() | CELLS[kind], min_size=rows, max_size=rows)
        columns[f"c{i}"] = pa.array(draw(cells), kind)
    return pa.table(columns)


@settings(max_examples=80, deadline=None)
@given(
    tables(),
    st.sampled_from([plan.Standardize(), plan.MinMax(), plan.Quantile(quantiles=5)]),
    st.integers(1, 3),
)
def test_any_table_becomes_finite_numbers(table, scaling, min_count):
    fitted = fit(table.slice(0, 6), numeric=scaling, min_count=min_count)
    got = dense(fitted, table)
    assert got.shape == (len(table), fitted.width)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    covered = [i for block in fitted.features.blocks.values() for i in range(fitted.width)[block]]
    assert covered == list(range(fitted.width))
    assert list(fitted.features.blocks) == table.column_names


def test_only_training_rows_are_learnt_from():
    table, roles = synthetic.credit(200)
    spec, schema = resolve(
        Plan.parse({"name": "m", "data": {"dataset": "credit"}}), schema_of(table, roles), 2
    )
    parts = Parts(np.arange(0, 200, 2), np.arange(1, 200, 4), np.arange(3, 200, 4))
    before = data.prepare(table, parts, schema, spec).preprocessing
    other = table.take(np.where(np.arange(200) % 2, 199 - np.arange(200), np.arange(200)))
    other = _scrambled(other, parts.train)
    after = data.prepare(other, parts, schema, spec).preprocessing
    assert before.inputs == after.inputs
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name


def _scrambled(table, kept):
    """The same table with every number outside `kept` made absurd, and every text new."""
    keep = np.isin(np.arange(len(table)), kept)
    for i, field in enumerate(table.schema):
        values = table[field.name].to_pylist()
        if pa.types.is_string(field.type) and field.name not in ("default", "outcome"):
            values = [v if k else "never seen" for v, k in zip(values, keep, strict=True)]
        elif pa.types.is_floating(field.type):
            values = [v if k else 1e12 for v, k in zip(values, keep, strict=True)]
        table = table.set_column(i, field, pa.array(values, field.type))
    return table


def test_inputs_say_what_each_column_is():
    table = pa.table({"n": [1, 2], "c": ["a", "a"], "b": [True, False]})
    kinds = [each.kind for each in fit(table).inputs]
    assert kinds == [Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN]


def test_the_order_of_columns_is_the_plans():
    table = pa.table({"c": ["a", "b"] * 4, "x": np.arange(8.0), "d": ["u", "v"] * 4})
    columns = [Column(name=n, type="float64" if n == "x" else "string") for n in ("d", "x", "c")]
    fitted = Tabular.fit(table, columns, plan.Preprocessing())
    got = dense(fitted, table)
    np.testing.assert_array_equal(got[0, fitted.features.blocks["d"]], [1, 0])
    np.testing.assert_array_equal(got[1, fitted.features.blocks["c"]], [0, 1])
    np.testing.assert_allclose(got[:, 2], (np.arange(8) - 3.5) / np.arange(8).std(), atol=1e-6)
