"""Plans: every default visible, every mistake named by its path and the allowed values."""

import json

import jsonschema
import pytest

from pellucid.errors import InvalidPlan
from pellucid.plan import GroupSplit, Plan, RandomSplit, StratifiedSplit, TimeSplit, resolve
from pellucid.plan.defaults import DEFAULTS
from pellucid.schema import Column, Role, Schema, StorageType

SCHEMA = Schema(
    columns=(
        Column(name="when", type=StorageType.TIMESTAMP),
        Column(name="person", type=StorageType.STRING),
        Column(name="income", type=StorageType.FLOAT64),
        Column(name="rooms", type=StorageType.INT64),
        Column(name="approved", type=StorageType.BOOL),
    )
)


def plan(**changes: object) -> Plan:
    return Plan.parse({"name": "m", "data": {"dataset": "d"}, "target": "approved"} | changes)


def test_yaml_and_json_give_the_same_plan() -> None:
    text = "name: m\ndata: {dataset: d}\nmodel: {kind: mlp, widths: [8, 4]}\n"
    value = {"name": "m", "data": {"dataset": "d"}, "model": {"kind": "mlp", "widths": [8, 4]}}
    assert Plan.from_text(text) == Plan.from_text(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"optimiser": {}}, "optimiser", "unknown key"),
        ({"training": {"epochs": -1}}, "training.epochs", "greater than or equal to 1"),
        ({"split": {"kind": "magic"}}, "split", "'random', 'stratified', 'time', 'group'"),
        ({"task": "guess"}, "task", "'auto', 'classification' or 'regression'"),
        ({"name": "../etc"}, "name", "pattern"),
        ({"split": {"kind": "random", "test": 0.6, "validation": 0.5}}, "split", "no rows"),
        ({"model": {"kind": "mlp", "widths": []}}, "model.widths", "at least 1 item"),
        ({"model": {"widths": [8]}}, "model", "its `kind` is missing"),
        ({"model": {"kind": "oracle"}}, "model", "'perceptron', 'mlp'"),
    ],
)
def test_a_mistake_is_named_by_path_and_allowed_values(
    change: dict[str, object], path: str, says: str
) -> None:
    with pytest.raises(InvalidPlan) as caught:
        plan(**change)
    assert caught.value.where["path"] == path
    assert says in caught.value.message


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(InvalidPlan) as caught:
        plan(training={"epochs": 0, "batch_size": 0}, nonsense=1)
    assert caught.value.where["path"] == ["training.epochs", "training.batch_size", "nonsense"]


@pytest.mark.parametrize(
    "text",
    ["- a list", "{", "just words", "", "name: 2024-13-45", "!!timestamp x", "!!int ''", "!!bool x",
     "[" * 5000 + "]" * 5000, "9" * 5000],
    ids=lambda text: text[:15],
)  # fmt: skip
def test_a_text_that_is_no_plan(text: str) -> None:
    with pytest.raises(InvalidPlan):
        Plan.from_text(text)


def test_the_json_schema_accepts_what_the_plan_accepts() -> None:
    schema = Plan.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(plan().model_dump(mode="json"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "m", "data": {"dataset": "d"}, "nonsense": 1}, schema)
    assert schema["$defs"]["Training"]["properties"]["epochs"]["default"] == 100


def schema_of(**types: str) -> Schema:
    return Schema(columns=tuple(Column(name=n, type=StorageType(t)) for n, t in types.items()))


@pytest.mark.parametrize(
    ("types", "given", "modality", "kind"),
    [
        ({"x": "float64", "c": "string", "y": "bool"}, {}, "tabular", "tabm"),
        ({"photo": "binary", "y": "string"}, {}, "image", "cnn"),
        ({"a": "list<float64>", "b": "list<float64>", "y": "int64"}, {}, "sequence", "gru"),
        ({"t": "string", "y": "string"}, {"modality": "text"}, "text", "bag_of_words"),
        ({"t": "string", "y": "string"}, {"model": {"kind": "transformer"}}, "text", "transformer"),
        ({"t": "string", "y": "string"}, {}, "tabular", "tabm"),
    ],
)
def test_the_columns_and_the_model_tell_what_the_inputs_are(
    types: dict[str, str], given: dict[str, object], modality: str, kind: str
) -> None:
    resolved, _ = resolve(plan(target="y", **given), schema_of(**types), classes=2)
    assert (resolved.modality, resolved.model.kind) == (modality, kind)


@pytest.mark.parametrize(
    ("types", "given", "path"),
    [
        ({"photo": "binary", "x": "float64", "y": "string"}, {}, "modality"),
        ({"a": "list<float64>", "x": "float64", "y": "string"}, {}, "modality"),
        ({"x": "float64", "y": "string"}, {"modality": "image"}, "modality"),
        ({"x": "float64", "y": "string"}, {"model": {"kind": "lstm"}}, "model.kind"),
        ({"x": "float64", "y": "string"}, {"loss": {"kind": "mse"}}, "loss.kind"),
        ({"x": "float64", "y": "float64"}, {"loss": {"kind": "focal"}}, "loss.kind"),
    ],
)
def test_inputs_model_and_loss_must_fit_together(
    types: dict[str, str], given: dict[str, object], path: str
) -> None:
    with pytest.raises(InvalidPlan) as caught:
        resolve(plan(target="y", **given), schema_of(**types))
    assert caught.value.where["path"] == path
    assert caught.value.remedy


def test_defaults_of_a_kind_of_network_fill_only_what_was_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defaults = {
        "training": {"epochs": 7, "batch_size": 9},
        "optimizer": {"kind": "adamw", "lr": 0.5, "weight_decay": 0.25},
        "schedule": {"kind": "constant"},
    }
    monkeypatch.setitem(DEFAULTS, "mlp", defaults)
    types = schema_of(x="float64", y="bool")
    mlp = {"kind": "mlp"}
    given = plan(
        target="y", model=mlp, training={"epochs": 3}, optimizer={"kind": "adamw", "lr": 1}
    )
    resolved, _ = resolve(given, types)
    assert (resolved.training.epochs, resolved.training.batch_size) == (3, 9)
    assert (resolved.optimizer.lr, resolved.optimizer.weight_decay) == (1, 0.25)
    assert resolved.schedule.kind == "constant"
    other, _ = resolve(plan(target="y", model=mlp, optimizer={"kind": "sgd"}), types)
    assert (other.optimizer.kind, other.optimizer.lr) == ("sgd", 0.01)
    again, _ = resolve(Plan.parse(resolved.model_dump(mode="json")), types)
    assert again == resolved


def test_a_resolved_plan_resolves_to_itself() -> None:
    resolved, schema = resolve(plan(), SCHEMA)
    assert resolve(Plan.parse(resolved.model_dump(mode="json")), schema)[0] == resolved


@pytest.mark.parametrize(
    ("target", "classes", "task", "split"),
    [
        ("approved", 2, "classification", StratifiedSplit),
        ("person", 900, "classification", StratifiedSplit),
        ("rooms", 5, "classification", StratifiedSplit),
        ("rooms", 21, "regression", RandomSplit),
        ("income", 2, "regression", RandomSplit),
    ],
)
def test_task_and_split_follow_the_target(
    target: str, classes: int, task: str, split: type
) -> None:
    resolved, schema = resolve(plan(target=target), SCHEMA, classes)
    assert (resolved.task, type(resolved.split)) == (task, split)
    assert [column.name for column in schema.having(Role.TARGET)] == [target]


def test_a_time_column_makes_the_split_by_time() -> None:
    resolved, _ = resolve(plan(data={"dataset": "d", "roles": {"when": "time"}}), SCHEMA)
    assert resolved.split == TimeSplit(column="when")


def test_the_group_column_is_the_id() -> None:
    by_group = plan(data={"dataset": "d", "roles": {"person": "id"}}, split={"kind": "group"})
    assert resolve(by_group, SCHEMA)[0].split == GroupSplit(column="person")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"target": "missing"}, "target"),
        ({"target": None}, "target"),
        ({"target": "when"}, "target"),
        ({"task": "regression"}, "task"),
        ({"data": {"dataset": "d", "roles": {"nope": "id"}}}, "data.roles.nope"),
        ({"split": {"kind": "time"}}, "split.column"),
        ({"split": {"kind": "time", "column": "nope"}}, "split.column"),
        (
            {"data": {"dataset": "d", "roles": dict.fromkeys(SCHEMA.names[:4], "ignore")}},
            "data.roles",
        ),
    ],
)
def test_a_plan_that_does_not_fit_the_data(changes: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidPlan) as caught:
        resolve(plan(**changes), SCHEMA)
    assert caught.value.where["path"] == path


@pytest.mark.parametrize(
    ("gates", "path"),
    [({"metric": "rmse"}, "gates.metric"), ({"at_least": {"auc": 0.7}}, "gates.at_least.auc")],
)
def test_gates_name_scores_of_the_task(gates: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidPlan, match="no classification score") as caught:
        resolve(plan(gates=gates), SCHEMA)
    assert caught.value.where == {"path": path}
    assert "roc_auc" in caught.value.remedy


def test_only_columns_that_are_there_can_be_redacted() -> None:
    kept, _ = resolve(plan(serving={"log": {"redact": ["person"]}}), SCHEMA)
    assert kept.serving.log.redact == ("person",)
    with pytest.raises(InvalidPlan, match="no column 'name'") as caught:
        resolve(plan(serving={"log": {"redact": ["person", "name"]}}), SCHEMA)
    assert caught.value.where == {"path": "serving.log.redact"}
    with pytest.raises(InvalidPlan, match="less than or equal to 1"):
        plan(serving={"log": {"sample": 1.5}})
