"""Constraints on counterfactuals: the data set's own, and a plan's in their place."""

import pytest

from pellucid.errors import InvalidPlan
from pellucid.plan import Plan, resolve
from pellucid.schema import Change, Column, Constraint, Role, Schema, StorageType

SCHEMA = Schema(
    columns=(
        Column(name="age", type=StorageType.INT64, constraint=Constraint(change="never")),
        Column(name="amount", type=StorageType.FLOAT64),
        Column(name="job", type=StorageType.STRING),
        Column(name="since", type=StorageType.TIMESTAMP),
        Column(name="sex", type=StorageType.STRING, role=Role.SENSITIVE),
        Column(name="bad", type=StorageType.BOOL, role=Role.TARGET),
        Column(name="marks", type=StorageType.LIST, role=Role.IGNORE),
    )
)


def resolved(constraints):
    data = {"dataset": "d", "constraints": constraints}
    return resolve(Plan.parse({"name": "m", "data": data}), SCHEMA)[1]


def test_those_of_the_data_set_hold_unless_the_plan_has_others():
    assert resolved({})["age"].constraint.change is Change.NEVER
    schema = resolved({"age": {"change": "increase", "high": 99}, "since": {}})
    assert schema["age"].constraint == Constraint(change=Change.INCREASE, high=99)
    assert schema["since"].constraint == Constraint()
    assert schema["amount"].constraint is None


def test_nothing_stands_against_never():
    schema = resolved({name: {"change": "never"} for name in ("job", "sex", "bad", "marks")})
    assert schema["sex"].constraint.change is Change.NEVER


@pytest.mark.parametrize(
    ("name", "constraint", "said"),
    [
        ("agee", {"change": "never"}, "There is no column 'agee'"),
        ("job", {"change": "increase"}, "holds strings, which have no order"),
        ("job", {"low": 3}, "holds strings, which have no order"),
        ("sex", {"change": "free"}, "is no feature but sensitive: it never changes"),
        ("bad", {"change": "increase"}, "is no feature but target: it never changes"),
    ],
)
def test_a_column_that_cannot_have_it_is_named_with_a_remedy(name, constraint, said):
    with pytest.raises(InvalidPlan, match=said) as caught:
        resolved({name: constraint})
    assert caught.value.where == {"path": f"data.constraints.{name}"}
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ({"change": "up"}, "'increase' or 'decrease'"),
        ({"low": 5, "high": 4}, "low 5 is above high 4"),
        ({"low": float("nan")}, "finite"),
        ({"step": 1}, "unknown key"),
    ],
)
def test_a_constraint_that_is_none(constraint, said):
    with pytest.raises(InvalidPlan, match=said) as caught:
        resolved({"age": constraint})
    assert str(caught.value.where["path"]).startswith("data.constraints.age")


def test_lists_never_change():
    column = Column(name="marks", type=StorageType.LIST)
    why, remedy = Constraint().misfit(column)
    assert "never changes" in why
    assert remedy == "Leave it out."
