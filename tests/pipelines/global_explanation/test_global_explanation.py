"""A run's whole global explanation: metrics, tables and figures, for every kind of input."""

import functools
import json
import math
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from pellucid import plan
from pellucid.datasets.splits import Parts
from pellucid.jobs.workspace import read_spool
from pellucid_pipelines import architectures, global_explanation
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain import explain
from pellucid_pipelines.global_explanation import examples as chosen
from pellucid_pipelines.global_explanation.importance import second_opinion
from pellucid_pipelines.global_explanation.places import by_step, token_records
from pellucid_pipelines.global_explanation.subject import Subject
from pellucid_pipelines.journal import Journal
from support.explained import Finished, a_workspace, data_of, finished

TABULAR = {
    "shap_bar", "shap_beeswarm", "shap_dependence", "shap_groups_group", "importance", "lime",
    "pdp",
}  # fmt: skip
FIGURES = {
    "tabular": TABULAR,
    "image": {"shap_images"},
    "sequence": {
        "shap_bar", "shap_steps", "shap_steps_overall", "shap_groups_group", "importance", "lime",
    },
    "text": {"shap_texts", "shap_tokens"},
}  # fmt: skip
TABLES = {
    "tabular": {"importance", "pdp", "shap_groups"},
    "image": {"importance", "shap_groups"},
    "sequence": {"importance", "shap_groups", "steps"},
    "text": {"importance", "shap_groups", "tokens"},
}


def written(run: Finished, root):
    workspace = a_workspace(root)
    with Journal(workspace) as journal:
        global_explanation.write(
            run.network, run.examples, run.explained, run.spec, workspace, journal
        )
    metrics = {each["key"]: each["value"] for _, each in read_spool(workspace.metrics_path)}
    return workspace, metrics


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(modality, task) -> a run, its workspace and its metrics; each is made once."""

    @functools.cache
    def made(modality, task):
        run = finished(modality, task)
        return run, *written(run, tmp_path_factory.mktemp("run"))

    return made


@pytest.mark.parametrize(
    ("modality", "task"),
    [
        ("tabular", "binary"),
        ("tabular", "multiclass"),
        ("tabular", "regression"),
        ("image", "multiclass"),
        ("sequence", "regression"),
        ("text", "binary"),
        ("text", "multiclass"),
    ],
)
def test_everything_is_written(modality, task, whole):
    before = plt.get_fignums()
    run, workspace, metrics = whole(modality, task)
    names = {path.stem for path in workspace.figures.glob("*.png")}
    assert {name for name in names if "waterfall" not in name} == FIGURES[modality]
    for path in workspace.figures.glob("*.png"):
        assert (matplotlib.image.imread(path)[..., :3] < 0.99).any(-1).mean() > 0.01, path.name
    assert plt.get_fignums() == before
    assert {path.stem for path in workspace.tables.iterdir()} == TABLES[modality]
    for column in run.explained.columns:
        assert metrics[f"importance/{column}"] >= 0
    assert all(math.isfinite(value) for value in metrics.values())
    assert ("lime/agreement" in metrics) == (len(run.explained.columns) > 1)


def test_the_table_of_importance(whole):
    run, workspace, metrics = whole("tabular", "binary")
    rows = pq.read_table(workspace.tables / "importance.parquet").to_pylist()
    assert [row["column"] for row in rows] == list(run.explained.importance())
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    for row in rows:
        assert row["metric"] == "roc_auc"
        assert row["low"] <= row["permutation"] <= row["high"]
        assert row["mean_abs_shap"] == metrics[f"importance/{row['column']}"]
        assert row["permutation"] == metrics[f"permutation/{row['column']}"]


def test_the_table_of_groups_explains_gaps_between_predictions(whole):
    run, workspace, _ = whole("tabular", "multiclass")
    rows = pq.read_table(workspace.tables / "shap_groups.parquet").to_pylist()
    assert {row["group"] for row in rows} == {"a", "b", "(missing)"}
    for group in ("a", "b", "(missing)"):
        for output in run.explained.outputs:
            mine = [r for r in rows if (r["group"], r["output"]) == (group, output)]
            gaps = {row["column"]: row["gap"] for row in mine}
            whole = gaps.pop("")
            assert sum(gaps.values()) == pytest.approx(whole, abs=1e-5)


def test_the_same_run_writes_the_same(whole, tmp_path):
    run, workspace, metrics = whole("tabular", "regression")
    again, same = written(run, tmp_path)
    assert same == metrics
    for path in workspace.tables.iterdir():
        assert path.read_bytes() == (again.tables / path.name).read_bytes()


class Linear(nn.Module):
    """The sum of weighted numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        raw: torch.Tensor = self.layer(dense)
        return raw


def test_of_a_linear_network_lime_says_what_shap_says():
    random = np.random.default_rng(0)
    table = pa.table(
        {f"x{i}": random.normal(size=200) * i for i in range(1, 7)}
        | {"y": random.normal(5, 2, size=200)}
    )
    examples = data_of(table, "regression")
    torch.manual_seed(0)
    network = Linear(examples.preprocessing.features.shape[0])
    background = examples.take(examples.parts.train[:1])  # all neighbours take the same values
    spec = plan.Explanation(rows=30, background=1)
    rows = examples.sample(examples.parts.test, 30, 0)
    explained = explain(network, examples.preprocessing, examples.target, background, rows, spec, 0)
    subject = Subject.of(network, examples)
    found = second_opinion(subject, explained, subject.dense(background), seed=0)
    np.testing.assert_allclose(found.effects, found.shap, rtol=0.05, atol=0.02)
    assert found.scores()["agreement"] > 0.99
    assert found.scores()["fidelity"] > 0.999


def test_right_and_wrong_rows_are_told_apart():
    run = finished("image", "multiclass")
    rows = run.examples.parts.test[:24]
    run_truth = run.examples.truth(rows)
    shown = chosen.right_and_wrong(run.explained, run_truth, run.examples.target, 8)
    assert len(shown) == len({each.row for each in shown}) == 8
    labels = run.explained.prediction.argmax(axis=1)
    for each in shown:
        assert each.right == (labels[each.row] == run_truth[each.row])
        assert ("truth" in each.title) != each.right


def test_errors_of_a_regression_are_the_smallest_and_the_largest():
    run = finished("sequence", "regression")
    truth = run.explained.prediction[:, 0] + np.arange(24)
    shown = chosen.right_and_wrong(run.explained, truth, run.examples.target, 6)
    assert [each.row for each in shown] == [0, 1, 2, 23, 22, 21]
    assert [each.right for each in shown] == [True] * 3 + [False] * 3


def test_tokens_are_counted_over_rows():
    run = finished("text", "binary")
    records = token_records(run.explained)
    totals = [each["total_abs_shap"] for each in records]
    assert totals == sorted(totals, reverse=True)
    texts = run.explained.rows["text"].to_pylist()
    for each in records:
        assert 1 <= each["rows"] <= sum(each["token"] in text.casefold() for text in texts)


def test_steps_are_aligned_at_the_last_one():
    run = finished("sequence", "regression")
    places = run.explained.places
    sizes = by_step(places)
    lengths = (places.inputs[..., -1] > 0).sum(axis=1)
    last = np.abs(places.values[np.arange(24), lengths - 1])
    np.testing.assert_allclose(sizes[-1], last.mean(axis=0))
    assert len(sizes) == lengths.max()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_page_of_texts_holds_what_users_wrote_as_text(tmp_path):
    texts = ["<script>alert('good')</script> & good", "bad <b> film", "plain good", "bad"] * 8
    table = pa.table({"text": texts, "y": ["yes", "no"] * 16})
    examples = data_of(table, "classification", "text")
    torch.manual_seed(0)
    network = architectures.build(
        plan.BagOfWords(width=8, buckets=64), examples.features(0), 1, examples.target.link
    )
    base = finished("text", "binary")
    explained = explain(
        network, examples.preprocessing, examples.target, examples.take(examples.parts.train),
        examples.take(examples.parts.test), base.spec.explanation, 0,
    )  # fmt: skip
    workspace, _ = written(Finished(base.spec, examples, network, explained), tmp_path)
    content = (workspace.figures / "shap_texts.html").read_text()
    page = _Page()
    page.feed(content)
    assert "script" not in page.tags
    assert "<script>" in page.text.replace(" ", "")
    assert "rgba(" in content


def test_awkward_columns_and_a_single_test_row(tmp_path):
    table = pa.table(
        {
            "price in $": [1.0, 2.0, None, math.inf] * 3,
            "a/b: <c>": ["$x$", None, "y" * 200, "z"] * 3,
            "y": ["no", "yes"] * 6,
        }
    )
    examples = data_of(table, "classification")
    every = np.arange(12)
    examples = Data(
        examples.table, Parts(every[:11], every[:0], every[11:]), examples.schema,
        examples.preprocessing, examples.target, None,
    )  # fmt: skip
    base = finished("tabular", "binary")
    torch.manual_seed(0)
    network = Linear(examples.preprocessing.features.shape[0])
    explained = explain(
        network, examples.preprocessing, examples.target, examples.take(every[:11]),
        examples.take(every[11:]), base.spec.explanation, 0,
    )  # fmt: skip
    _, metrics = written(Finished(base.spec, examples, network, explained), tmp_path)
    assert metrics["importance/price in $"] >= 0
    assert json.dumps(metrics, allow_nan=False)
