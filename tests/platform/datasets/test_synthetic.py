"""The synthetic credit data does what its docstring says."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pellucid.datasets.store import DatasetStore
from pellucid.datasets.synthetic import applications, credit, default_probability
from pellucid.schema import Kind, Role

ROWS = 40_000


def outcome(bias: float = 0.6, covariate: float = 0.0, concept: float = 0.0) -> tuple[
    dict[str, np.ndarray], np.ndarray, np.ndarray  # type: ignore[type-arg]
]:  # fmt: skip
    random = np.random.default_rng(5)
    columns = applications(ROWS, random, covariate)
    probability = default_probability(columns, bias=bias, concept_drift=concept)
    return columns, probability, random.random(ROWS) < probability


def test_the_true_process_ranks_with_an_auc_of_about_four_fifths() -> None:
    _, probability, default = outcome()
    assert 0.77 < roc_auc_score(default, probability) < 0.83
    assert 0.2 < default.mean() < 0.3


def test_the_signal_can_be_learnt() -> None:
    table, _ = credit(8000, seed=1)
    frame = table.to_pandas()
    names = ["income", "amount", "months", "utilisation", "late_payments", "employment_years"]
    x = frame[names].fillna(frame[names].median()).astype(float)
    x["burden"] = x["amount"] / x["months"] / x["income"]
    x = (x - x.mean()) / x.std()
    model = LogisticRegression().fit(x[:6000], frame["default"][:6000])
    assert roc_auc_score(frame["default"][6000:], model.predict_proba(x[6000:])[:, 1]) > 0.7


def test_a_seed_is_a_table() -> None:
    one, _ = credit(300, seed=4)
    assert one.equals(credit(300, seed=4)[0])
    assert not one.equals(credit(300, seed=5)[0])


def test_kinds_roles_and_missing_values(store: DatasetStore, tmp_path: Path) -> None:
    table, roles = credit(3000)
    pq.write_table(table, tmp_path / "credit.parquet")
    version, _ = store.add(tmp_path / "credit.parquet", name="credit", roles=roles)
    kinds = {column.kind for column in version.data_schema.columns}
    assert kinds >= {Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN}
    assert [c.name for c in version.data_schema.having(Role.SENSITIVE)] == ["sex", "age_group"]
    assert [c.name for c in version.data_schema.having(Role.TARGET)] == ["default"]
    missing = {p.name: p.missing / p.rows for p in store.profile("credit") if p.missing}
    assert missing == {
        "employment_years": pytest.approx(0.08, abs=0.02),
        "utilisation": pytest.approx(0.045, abs=0.02),
    }


def test_the_planted_bias() -> None:
    columns, biased, _ = outcome(bias=0.6)
    _, fair, _ = outcome(bias=0.0)
    shift = np.log(biased / (1 - biased)) - np.log(fair / (1 - fair))
    female, young = columns["sex"] == "female", columns["age_group"] == "under_30"
    assert shift == pytest.approx(0.6 * female + 0.3 * young, abs=1e-9)
    assert columns["part_time"][female].mean() > 2 * columns["part_time"][~female].mean()


def test_concept_drift_moves_only_the_outcome() -> None:
    before, after = credit(2000, seed=2)[0], credit(2000, seed=2, concept_drift=1.0)[0]
    assert before.drop(["default"]).equals(after.drop(["default"]))
    assert before.column("default") != after.column("default")


def test_covariate_drift_moves_the_applicants_and_not_the_rule() -> None:
    columns, probability, _ = outcome()
    drifted, _, _ = outcome(covariate=1.0)
    assert np.median(drifted["income"]) < 0.8 * np.median(columns["income"])
    assert drifted["utilisation"].mean() > columns["utilisation"].mean() + 0.1
    assert drifted["age"].mean() < columns["age"].mean() - 3
    again = default_probability(columns, bias=0.6, concept_drift=0.0)
    assert (again == probability).all()


def test_it_is_a_table() -> None:
    table, roles = credit(10)
    assert isinstance(table, pa.Table)
    assert table.num_rows == 10
    assert set(roles) <= set(table.column_names)
