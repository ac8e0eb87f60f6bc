"""Which rows are of which group, what they weigh, and that they keep it on their way."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from pellucid import plan
from pellucid.datasets.splits import Parts
from pellucid.errors import InvalidData
from pellucid.schema import Role
from pellucid_pipelines import data
from pellucid_pipelines.mitigation import Groups
from pellucid_pipelines.mitigation.reweighing import factors
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.streaming import Streamed
from support.training import a_plan, schema_of

TABLE = pa.table(
    {
        "sex": ["f", "m", "f", None, "m", "x", "f", "m"],
        "age": [20, 30, 61, 20, None, 20, 25, 26],
        "here": [True, False, None, True, False, True, False, True],
    }
)
SCHEMA = schema_of(TABLE, dict.fromkeys(TABLE.column_names, Role.SENSITIVE))
TRAIN = np.array([0, 1, 2, 3, 4, 6, 7])


def fitted(column, **edges):
    return Groups.fit(TABLE, TRAIN, SCHEMA, plan.Fairness(column=column, edges=edges))


def test_strings_booleans_and_numbers_tell_groups():
    sex, here = fitted("sex"), fitted("here")
    assert (sex.names, sex.codes.tolist()) == (("f", "m"), [0, 1, 0, 2, 1, 2, 0, 1])
    assert here.codes.tolist() == [1, 0, 2, 1, 0, 1, 0, 1]
    age = fitted("age", age=(25,))
    assert age.names == ("up to 25", "above 25")
    assert age.codes.tolist() == [0, 1, 1, 0, 2, 0, 0, 1]


def test_intersections_are_those_of_the_training_rows():
    both = fitted(["sex", "age"], age=(25,))
    assert both.names == ("f, up to 25", "f, above 25", "m, above 25")
    assert both.codes.tolist() == [0, 2, 1, 3, 3, 3, 0, 2]
    fewest = both.fewest(np.arange(8), np.array([0, 1, 0, 1, 0, 1, 1, 0], bool))
    assert fewest.tolist() == [1, 0, 1]


def test_one_group_or_too_many_are_refused():
    table = pa.table({"g": ["a"] * 8, "names": [f"n{i}" for i in range(8)]})
    schema = schema_of(table, dict.fromkeys(table.column_names, Role.SENSITIVE))
    with pytest.raises(InvalidData, match="of one group"):
        Groups.fit(table, TRAIN, schema, plan.Fairness(column="g"))
    many = pa.table({"names": [f"n{i}" for i in range(100)]})
    schema = schema_of(many, {"names": Role.SENSITIVE})
    with pytest.raises(InvalidData, match="100 values"):
        Groups.fit(many, np.arange(100), schema, plan.Fairness(column="names"))


@pytest.mark.parametrize("weighted", [False, True])
def test_reweighed_groups_and_classes_are_independent(weighted):
    random = np.random.default_rng(0)
    codes, truth = random.integers(0, 3, 500), random.integers(0, 2, 500)
    truth[codes == 0] |= random.integers(0, 2, 500)[codes == 0]  # one group has more positives
    groups = Groups((), np.arange(2), ("a", "b"), codes)  # code 2: without a group
    weight = random.uniform(0.5, 2, 500) if weighted else None
    train = np.arange(400)
    found = factors(groups, truth, train, weight)
    assert (found[codes == 2] == 1).all()
    own = np.ones(500) if weight is None else weight
    for code in (0, 1):
        mine = train[codes[train] == code]
        assert (found * own)[mine].sum() == pytest.approx(own[mine].sum()), "no group gains"
    known = train[codes[train] < 2]
    shares = [
        np.average(
            truth[known][codes[known] == code], weights=(found * own)[known][codes[known] == code]
        )
        for code in (0, 1)
    ]
    assert shares[0] == pytest.approx(shares[1])


def test_factors_are_those_of_the_paper():
    """Kamiran and Calders (2012): of 10 people 5 are men; 4 of them are hired, and 2 women."""
    male, hired = np.repeat([1, 0], 5), np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0])
    groups = Groups((), np.arange(2), ("f", "m"), male)
    found = factors(groups, hired, np.arange(10), None)
    expected = {(1, 1): 0.75, (1, 0): 2.0, (0, 1): 1.5, (0, 0): 2 / 3}
    for row in range(10):
        assert found[row] == pytest.approx(expected[int(male[row]), int(hired[row])])


def prepared(**fairness):
    random = np.random.default_rng(1)
    table = pa.table(
        {
            "x": random.normal(size=60),
            "sex": random.choice(["f", "m"], 60),
            "w": random.uniform(1, 2, 60),
            "y": random.choice(["no", "yes"], 60),
        }
    )
    roles = {"sex": Role.SENSITIVE, "w": Role.WEIGHT, "y": Role.TARGET}
    schema = schema_of(table, roles)
    spec = a_plan(fairness={"column": "sex", **fairness}) if fairness else a_plan()
    spec, schema = plan.resolve(spec, schema, 2)
    parts = Parts(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    return data.prepare(table, parts, schema, spec), table


def test_factors_multiply_the_weights_in_the_loss_alone():
    plain, table = prepared()
    fair, _ = prepared(mitigation="reweighing")
    rows = fair.parts.train
    assert fair.factors is not None
    product = fair.factors[rows] * table["w"].to_numpy()[rows]
    np.testing.assert_allclose(fair.rows(rows).weights, product / product.mean(), rtol=1e-6)
    assert not np.allclose(fair.rows(rows).weights, plain.rows(rows).weights)
    np.testing.assert_array_equal(fair.weights(rows), plain.weights(rows))
    assert plain.rows(rows).groups is None


def test_batches_keep_each_rows_group():
    count = 300
    numbers = torch.arange(count)
    rows = Rows(numbers.float()[:, None], numbers.float(), None, numbers % 5)
    streamed = Streamed(
        lambda at: torch.from_numpy(at)[:, None].float(),
        np.arange(count),
        16,
        numbers.float(),
        None,
        numbers % 5,
    )
    for source in (rows, streamed):
        seen = list(source.batches(32, seed=0, epoch=0))
        assert sum(map(len, seen)) == count
        assert all(torch.equal(each.groups, each.targets.long() % 5) for each in seen)
        assert torch.equal(source.take(torch.tensor([7, 3])).groups, torch.tensor([2, 3]))
    assert rows.joined(rows).groups.shape == (600,)
