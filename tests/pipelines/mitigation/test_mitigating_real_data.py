"""Thresholds of groups on German credit (Hofmann 1994, UCI), and on the demo's planted bias."""

import pyarrow as pa
import pyarrow.csv
import pytest
import torch

from pellucid.datasets import synthetic
from pellucid.errors import InvalidPlan
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Role
from pellucid_pipelines import data, fitting
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.mitigation import deciding, effect
from support.stack import SHARED_DATA
from support.training import a_request, schema_of

CREDIT = SHARED_DATA / "german_credit.csv"
WOMEN = ("A92", "A95")  # of personal_status


def german():
    table = pyarrow.csv.read_csv(CREDIT)
    sex = ["female" if each in WOMEN else "male" for each in table["personal_status"].to_pylist()]
    young = [age <= 25 for age in table["age"].to_pylist()]
    table = table.append_column("sex", pa.array(sex)).append_column("young", pa.array(young))
    # What tells the group outright is no feature: the network is to be blind.
    roles = {"credit": Role.TARGET, "sex": Role.SENSITIVE, "young": Role.SENSITIVE}
    return table, roles | {"personal_status": Role.IGNORE, "age": Role.IGNORE}


def mitigated(root, source, favourable=None, **fairness):
    table, roles = source
    spec = {
        "name": "m",
        "data": {"dataset": "d"},
        "model": {"kind": "mlp"},
        "split": {"kind": "stratified", "validation": 0.3, "test": 0.3},
        "training": {"epochs": 20, "device": "cpu", "diagnostics": False},
        "evaluation": {"resamples": 200, "favourable": favourable},
        "fairness": fairness,
    }
    plan, schema = resolve(Plan.parse(spec), schema_of(table, roles), classes=2)
    request = a_request(plan, schema)
    workspace = Workspace(root)
    workspace.write_request(request)
    workspace.tables.mkdir(parents=True)
    examples = data.prepare(table, data.split(table, plan), schema, plan)
    with Journal(workspace) as journal:
        device = torch.device("cpu")
        network, _ = fitting.train(request, plan, examples, device, workspace, journal)
        rule = deciding.decide(network, examples, plan)
        found = effect.measure(network, examples, plan, rule, journal, workspace)
    return {(each.part, each.stage, each.name): each for each in found.measured}


CASES = [
    pytest.param(german, "sex", marks=pytest.mark.skipif(not CREDIT.exists(), reason="no data")),
    pytest.param(german, "young", marks=pytest.mark.skipif(not CREDIT.exists(), reason="no data")),
    pytest.param(lambda: synthetic.credit(3000), "sex"),
    pytest.param(lambda: synthetic.credit(3000), "age_group"),
]


@pytest.mark.parametrize(("source", "column"), CASES)
def test_thresholds_close_the_gap_on_validation_and_tell_of_the_test_part(tmp_path, source, column):
    found = mitigated(tmp_path, source(), column=column, mitigation="thresholds")
    assert found["validation", "after", "equalized_odds_gap"].value <= 0.02
    for stage in ("before", "after"):
        gap = found["test", stage, "equalized_odds_gap"]
        assert 0 <= gap.low <= gap.value <= gap.high <= 1
    cost = found["test", "after", "accuracy_cost"]
    assert cost.low <= cost.value <= cost.high
    assert abs(cost.value) < 0.1


def test_every_criterion_is_met_where_it_is_asked_for(tmp_path):
    """No default is the favourable class: equal opportunity is then about those who pay back."""
    source = synthetic.credit(2000)
    cases = [("equal_opportunity", None), ("equal_opportunity", "0"), ("demographic_parity", "0")]
    for criterion, favourable in cases:
        found = mitigated(
            tmp_path / f"{criterion}-{favourable}",
            source,
            favourable=favourable,
            column="sex",
            criterion=criterion,
            mitigation={"kind": "thresholds", "tolerance": 0.01, "objective": "balanced_accuracy"},
        )
        assert found["validation", "after", f"{criterion}_gap"].value <= 0.01


def test_what_is_of_two_classes_is_refused_before_training(tmp_path):
    """Where the number of classes was not known when the plan was resolved."""
    table, roles = synthetic.credit(300)
    roles = roles | {"default": Role.IGNORE, "housing": Role.TARGET}
    spec = {"name": "m", "data": {"dataset": "d"}, "fairness": {"column": "sex"}}
    for changed in ({"mitigation": "thresholds"}, {"criterion": "equal_opportunity"}):
        asked = spec | {"fairness": spec["fairness"] | changed}
        plan, schema = resolve(Plan.parse(asked), schema_of(table, roles))
        with pytest.raises(InvalidPlan, match="'housing' has 3"):
            data.prepare(table, data.split(table, plan), schema, plan)


def test_more_than_two_classes_are_compared_by_accuracy(tmp_path):
    table, roles = synthetic.credit(1500)
    roles = roles | {"default": Role.IGNORE, "housing": Role.TARGET}
    found = mitigated(tmp_path, (table, roles), column=["sex", "age_group"], mitigation="group_dro")
    names = {name for _, _, name in found}
    assert names == {"accuracy", "accuracy_gap"}
