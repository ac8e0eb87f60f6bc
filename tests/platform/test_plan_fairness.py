"""The plan's part on fairness: read, resolved, and refused where it cannot be."""

import jsonschema
import pytest

from pellucid.errors import InvalidPlan
from pellucid.plan import Plan, Thresholds, resolve
from pellucid.schema import Column, Role, Schema, StorageType

SCHEMA = Schema(
    columns=(
        Column(name="x", type=StorageType.FLOAT64),
        Column(name="sex", type=StorageType.STRING, role=Role.SENSITIVE),
        Column(name="age", type=StorageType.INT64, role=Role.SENSITIVE),
        Column(name="born", type=StorageType.TIMESTAMP, role=Role.SENSITIVE),
        Column(name="y", type=StorageType.STRING, role=Role.TARGET),
        Column(name="z", type=StorageType.FLOAT64, role=Role.IGNORE),
    )
)


def resolved(fairness, classes=2, **parts):
    spec = {"name": "m", "data": {"dataset": "d"}, "fairness": fairness, **parts}
    return resolve(Plan.parse(spec), SCHEMA, classes)[0]


def test_names_will_do_and_the_resolved_plan_says_all():
    plan = resolved({"column": "sex", "mitigation": "thresholds"})
    assert plan.fairness.column == ("sex",)
    assert plan.fairness.mitigation == Thresholds(tolerance=0.02, objective="accuracy")
    again = Plan.parse(plan.model_dump(mode="json"))
    assert again == plan
    assert resolve(again, SCHEMA, 2)[0] == plan
    assert Plan.parse({"name": "m", "data": {"dataset": "d"}}).fairness is None


@pytest.mark.parametrize("column", ["personal_status", ["sex", "age"], [], 3])
@pytest.mark.parametrize("mitigation", ["thresholds", {"kind": "reweighing"}, "magic", None])
def test_the_schema_takes_what_the_plan_takes(column, mitigation):
    document = {
        "name": "m",
        "data": {"dataset": "d"},
        "fairness": {"column": column, "mitigation": mitigation},
    }
    try:
        Plan.parse(document)
        taken = True
    except InvalidPlan:
        taken = False
    assert jsonschema.Draft202012Validator(Plan.json_schema()).is_valid(document) == taken


def test_thresholds_leave_the_validation_rows_unseen():
    assert resolved({"column": "sex"}).training.refit > 0, "the default of the network"
    assert resolved({"column": "sex", "mitigation": "thresholds"}).training.refit == 0


AGE = {"column": ["sex", "age"], "edges": {"age": [25]}}


@pytest.mark.parametrize(
    ("fairness", "parts", "path", "says"),
    [
        ({"column": "gender"}, {}, "fairness.column", "no column 'gender'"),
        ({"column": "x"}, {}, "fairness.column", "is feature, not sensitive"),
        ({"column": "born"}, {}, "fairness.column", "datetime, which tells no groups"),
        ({"column": "age"}, {}, "fairness.edges", "not cut into groups"),
        ({"column": "sex", "edges": {"sex": [1]}}, {}, "fairness.edges.sex", "not numeric"),
        ({"column": ["sex", "sex"]}, {}, "fairness", "comes twice"),
        ({"column": "sex", "edges": {"age": [1]}}, {}, "fairness", "not one of the columns"),
        (AGE | {"edges": {"age": [30, 25]}}, {}, "fairness", "must rise"),
        (AGE | {"mitigation": "magic"}, {}, "fairness.mitigation", "'magic'"),
        (
            {"column": "sex", "mitigation": {"kind": "thresholds", "tolerance": 1}},
            {},
            "fairness.mitigation.tolerance",
            "less than 1",
        ),
        (AGE, {"target": "z", "data": {"dataset": "d"}}, "fairness", "a regression makes none"),
        (
            AGE | {"mitigation": "thresholds"},
            {"training": {"refit": 0.5}},
            "training.refit",
            "would learn from",
        ),
        (
            AGE | {"mitigation": "thresholds"},
            {"cross_validation": {}},
            "cross_validation",
            "there is none",
        ),
        (
            AGE | {"mitigation": "group_dro"},
            {"regularization": {"mixup": 0.2}},
            "regularization.mixup",
            "different groups",
        ),
        (
            AGE | {"mitigation": "adversarial"},
            {"regularization": {"mixup": 0.2}},
            "regularization.mixup",
            "different groups",
        ),
    ],
)
def test_what_cannot_be_is_named(fairness, parts, path, says):
    with pytest.raises(InvalidPlan, match=says) as caught:
        resolved(fairness, **parts)
    assert caught.value.where == {"path": path}


def test_thresholds_are_of_two_classes():
    resolved(AGE | {"mitigation": "reweighing"}, classes=3)
    for fairness in (AGE | {"mitigation": "thresholds"}, AGE | {"criterion": "equal_opportunity"}):
        with pytest.raises(InvalidPlan, match="there are 3"):
            resolved(fairness, classes=3)


def test_thresholds_are_for_tables():
    images = Schema(
        columns=(
            Column(name="photo", type=StorageType.BINARY),
            *(column for column in SCHEMA.columns if column.role is not Role.FEATURE),
        )
    )
    spec = {"name": "m", "data": {"dataset": "d"}, "fairness": AGE | {"mitigation": "thresholds"}}
    with pytest.raises(InvalidPlan, match="for tables; this is image"):
        resolve(Plan.parse(spec), images, 2)
