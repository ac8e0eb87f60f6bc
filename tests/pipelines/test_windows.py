import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import InvalidData, InvalidPlan
from pellucid.plan import Plan, resolve
from pellucid.schema import Role, StorageType
from pellucid_pipelines import data, windows
from support.training import schema_of

ROLES = {"machine": Role.ID, "hour": Role.TIME, "y": Role.TARGET, "place": Role.SENSITIVE}


def long_table(lengths=(5, 3, 4), seed=0):
    """Rows in random order; x is the hour, plus 100 times the machine."""
    random = np.random.default_rng(seed)
    machine = np.repeat(np.arange(len(lengths)), lengths)
    hour = np.concatenate([np.arange(length) for length in lengths])
    table = pa.table(
        {
            "machine": [f"m{i}" for i in machine],
            "hour": hour,
            "x": hour + 100.0 * machine,
            "on": hour % 2 == 0,
            "place": [f"p{i % 2}" for i in machine],
            "y": hour * 10.0 + machine,
        }
    )
    return table.take(pa.array(random.permutation(len(table))))


def widened(table, spec, roles=ROLES):
    plan, schema = resolve(
        Plan.parse({"name": "w", "data": {"dataset": "long", **spec.pop("data")}, **spec}),
        schema_of(table, roles),
    )
    return windows.widen(table, schema, plan)


def test_each_id_is_one_sequence_of_its_last_steps():
    table, schema, plan = widened(long_table(), {"data": {"windows": {"steps": 4}}})
    assert table["x"].to_pylist() == [[1, 2, 3, 4], [100, 101, 102], [200, 201, 202, 203]]
    assert table["on"].to_pylist()[1] == [1, 0, 1]
    assert table["y"].to_pylist() == [40, 21, 32]
    assert table["hour"].to_pylist() == [4, 2, 3]
    assert table["place"].to_pylist() == ["p0", "p1", "p0"]
    assert {c.name: c.type for c in schema.having(Role.FEATURE)} == dict.fromkeys(
        ["x", "on"], StorageType.LIST
    )
    assert plan.target == "y"
    assert plan.modality == "sequence"


def test_classes_of_sequences():
    table = long_table()
    table = table.set_column(5, "y", pa.array([name[1] for name in table["machine"].to_pylist()]))
    table, _, plan = widened(table, {"data": {"windows": {"steps": 2}}})
    assert plan.task == "classification"
    assert table["y"].to_pylist() == ["0", "1", "2"]


def test_a_horizon_slides_over_each_series():
    spec = {"data": {"windows": {"steps": 2, "horizon": 2}}}
    table, schema, plan = widened(long_table(), spec)
    assert table["y"].to_pylist() == [[0, 10], [10, 20], [2, 12]]
    assert table["x"].to_pylist() == [[0, 1], [1, 2], [200, 201]]
    assert table["y_next"].to_pylist() == [[20, 30], [30, 40], [22, 32]]
    assert table["hour"].to_pylist() == [3, 4, 3]
    assert table["hour_from"].to_pylist() == [2, 3, 2]
    assert (plan.target, plan.task) == ("y_next", "regression")
    assert schema["y_next"].role is Role.TARGET
    assert [c.name for c in schema.having(Role.FEATURE)] == ["y", "x", "on"]


def test_one_step_ahead_is_a_number():
    table, schema, _ = widened(long_table(), {"data": {"windows": {"steps": 2, "horizon": 1}}})
    assert schema["y_next"].type is StorageType.FLOAT64
    assert table["y_next"].to_pylist()[:3] == [20, 30, 40]


def test_a_series_needs_no_id_and_no_other_column():
    table = long_table([6]).select(["hour", "y"])
    spec = {"data": {"windows": {"steps": 2, "horizon": 1, "stride": 2, "time": "hour"}}}
    table, _, plan = widened(table, {"target": "y", **spec}, {})
    assert table["y_next"].to_pylist() == [30, 50]
    assert plan.split.column == "hour"


def test_windows_with_an_unknown_target_are_left_out():
    table = long_table([6]).sort_by("hour")
    values = [0.0, 10.0, None, 30.0, 40.0, 50.0]
    table = table.set_column(5, "y", pa.array(values))
    table, _, _ = widened(table, {"data": {"windows": {"steps": 2, "horizon": 1}}})
    assert table["y_next"].to_pylist() == [30, 40, 50]
    assert table["y"].to_pylist() == [[10, None], [None, 30], [30, 40]]


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    steps=st.integers(1, 4),
    horizon=st.integers(1, 3),
    stride=st.integers(1, 3),
)
def test_windows_are_those_of_a_plain_loop(lengths, steps, horizon, stride):
    expected = []
    for machine, length in enumerate(lengths):
        values = [hour * 10.0 + machine for hour in range(length)]
        starts = sorted(range(length - steps - horizon, -1, -stride))
        expected += [(values[s : s + steps], values[s + steps :][:horizon]) for s in starts]
    shape = {"steps": steps, "horizon": horizon, "stride": stride}
    try:
        table, _, _ = widened(long_table(lengths), {"data": {"windows": shape}})
    except InvalidData:
        assert not expected
        return
    ahead = [v if isinstance(v, list) else [v] for v in table["y_next"].to_pylist()]
    assert list(zip(table["y"].to_pylist(), ahead, strict=True)) == expected


def test_no_value_that_trains_is_tested():
    table, _, plan = widened(
        long_table([60, 50, 55]), {"data": {"windows": {"steps": 5, "horizon": 4}}}
    )
    parts = data.split(table, plan)
    first, last = table["hour_from"].to_numpy(), table["hour"].to_numpy()
    assert last[parts.train].max() < first[parts.validation].min()
    assert last[parts.validation].max() < first[parts.test].min()
    assert len(parts.test) > 10


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"split": {"kind": "random"}}, "windows overlap"),
        ({"task": "classification"}, "must be numbers"),
        ({"data": {"windows": {"horizon": 2, "time": "nowhen"}}}, "no column 'nowhen'"),
        ({"data": {"windows": {"horizon": 2, "time": "place"}}}, "is categorical"),
        ({"data": {"windows": {"horizon": 2}, "roles": {"place": "feature"}}}, "numbers"),
        ({"data": {"windows": {"horizon": 2}, "roles": {"hour": "ignore"}}}, "order the steps"),
        ({"data": {"windows": {}, "roles": {"machine": "ignore"}}}, "one sequence"),
        ({"data": {"windows": {"horizon": 2, "id": "y"}}}, "cannot be the target"),
        ({"split": {"kind": "group", "column": "on"}}, "changes within one series"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(spec, message):
    with pytest.raises(InvalidPlan, match=message):
        widened(long_table(), {"data": {"windows": {"horizon": 1, "steps": 2}}, **spec})


def test_series_that_are_too_short_are_refused():
    with pytest.raises(InvalidData, match="the longest has 5"):
        widened(long_table(), {"data": {"windows": {"horizon": 3, "steps": 3}}})


def test_a_missing_time_is_refused():
    table = long_table().set_column(1, "hour", pa.array([None] + [1] * 11, pa.int64()))
    with pytest.raises(InvalidData, match="1 rows have no 'hour'"):
        widened(table, {"data": {"windows": {"horizon": 1, "steps": 2}}})
