"""The model card holds the run's facts, and nothing it was not given."""

import json
import re
import shlex

import numpy as np
import pytest

from pellucid import plan
from pellucid.analysis.explanation_scores import SCORES
from pellucid.bundle import Datatype, Explanation, Input, Manifest, Output, Parity
from pellucid.plan import Plan
from pellucid.schema import Kind
from pellucid_pipelines.card import model_card
from pellucid_pipelines.evaluate import Evaluation, evaluate

SECTIONS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Findings of the training",
    "Caveats and recommendations",
    "How to load it",
]  # fmt: skip
INPUTS = (
    Input.of("age", Kind.NUMERIC),
    Input.of("pur|pose*", Kind.CATEGORICAL, ("car's", "tv")),
    Input.of("since", Kind.DATETIME),
    Input.of("owner", Kind.BOOLEAN),
)


def manifest(classes: tuple[int | str, ...] = ("bad", "good")) -> Manifest:
    described = Plan.parse(
        {"name": "credit", "data": {"dataset": "credit@3"}, "target": "risk",
         "split": {"kind": "stratified"}, "model": {"kind": "mlp", "widths": [32, 16]}}
    )  # fmt: skip
    return Manifest(
        name="credit",
        task="classification" if classes else "regression",
        target="risk",
        classes=classes,
        positive_class="good" if len(classes) == 2 else None,
        inputs=INPUTS,
        outputs=(),
        opset=20,
        files={},
        parity=Parity(rows=256, tolerance=1e-5, max_error=3.4e-7),
        metrics={},
        data_version="ab" * 32,
        job_id="job-7",
        created="2026-11-21T00:00:00+00:00",
        plan=described.model_dump(mode="json"),
        environment={"torch": "2.13.0"},
    )


def evaluated(sensitive: bool = True, classes: int = 2) -> Evaluation:
    random = np.random.default_rng(0)
    raw = random.gamma(1, size=(300, max(classes, 2)))
    group = random.choice(["a|b", "c"], size=300)
    truth = np.where(group == "c", raw.argmax(1), random.integers(0, raw.shape[1], 300))
    group[:3] = "few"
    return evaluate(
        truth if classes else truth.astype(float),
        raw / raw.sum(1, keepdims=True) if classes else raw[:, 0],
        classes=tuple(range(classes)) if classes else None,
        positive=1 if classes == 2 else None,
        sensitive={"birth<place>": group} if sensitive else {},
        weight=None,
        spec=plan.Evaluation(resamples=100),
        seed=0,
    )


def card(described: Manifest, evaluation: Evaluation) -> str:
    return model_card(
        manifest=described,
        rows={"train": 1200, "validation": 250, "test": 300},
        evaluation=evaluation,
        importance={f"column {n}": 1 / (n + 1) for n in range(20)},
        explanation={
            "method": "deep", "unit": "log-odds", "rows": 256, "additivity_error": 2.5e-8,
        },
    )  # fmt: skip


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_sections_in_order_and_facts_in_their_places() -> None:
    evaluation = evaluated()
    text = card(manifest(), evaluation)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    details = section(text, "Model details")
    for fact in ("bad, good", r"mlp (widths \[32, 16\]", "job-7", "3.4e-07 on 256", "torch 2.13.0"):
        assert fact in details
    data = section(text, "Training data")
    assert "ab" * 32 in data
    assert "1,200" in data
    assert "stratified (validation 0.2, test 0.2)" in section(text, "Evaluation data")
    assert "100 resamples" not in text  # the plan's own number
    assert "1,000 resamples" in section(text, "Metrics")
    analyses = section(text, "Quantitative analyses")
    for name, interval in evaluation.metrics.items():
        assert f"| {name.replace('_', chr(92) + '_')} | {interval} |" in analyses
    assert "column 14" in analyses
    assert "column 15" not in analyses
    assert "2.5e-08" in section(text, "Caveats and recommendations")


def test_groups_are_named_with_their_verdicts() -> None:
    text = card(manifest(), evaluated())
    assert r"| birth\<place\> | a\|b |" in section(text, "Factors")
    assert "(too few rows)" in section(text, "Quantitative analyses")
    assert r"- birth\<place\> = a\|b: accuracy" in section(text, "Ethical considerations")
    assert "too few test rows for a verdict: 1." in section(text, "Caveats and recommendations")


def test_without_sensitive_columns_nothing_is_claimed() -> None:
    text = card(manifest(), evaluated(sensitive=False))
    assert "is not known" in section(text, "Factors")
    assert section(text, "Ethical considerations").strip().startswith("Not assessed")


@pytest.mark.parametrize("classes", [0, 3, 20])
def test_other_tasks(classes: int) -> None:
    text = card(manifest(tuple(range(classes))), evaluated(classes=classes))
    assert "Positive class" not in text
    assert ("true \\\\ predicted" in text) == (classes == 3)
    assert ("rmse" if classes == 0 else "accuracy") in text.splitlines()[2]


def test_every_table_has_as_many_cells_in_each_row() -> None:
    text = card(manifest(), evaluated())
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 6
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_request_can_be_pasted_into_a_shell() -> None:
    text = section(card(manifest(), evaluated()), "How to load it")
    command = text.split("```sh\n")[1].split("```")[0]
    arguments = shlex.split(command.replace("\\\n", " "))
    rows = json.loads(arguments[arguments.index("-d") + 1])
    assert rows == [{"age": 0, "pur|pose*": "car's", "since": "2026-01-31T12:00:00", "owner": True}]
    python = text.split("```python\n")[1].split("```")[0]
    compile(python, "card", "exec")
    assert "models:/credit@champion" in python


OTHERS = (
    (Input.of("photo", Kind.IMAGE, shape=(28, 30, 1)), "28 x 30 pixels, grey", "UINT8"),
    (Input.of("clip", Kind.IMAGE, shape=(8, 9, 9, 3)), "8 frames of 9 x 9 pixels", "UINT8"),
    (Input.of("load", Kind.SEQUENCE, shape=(24,)), "the last 24 steps", "FP64"),
    (Input.of("review", Kind.TEXT, shape=(64,)), "the first 64 tokens", "INT64"),
)


@pytest.mark.parametrize(("given", "read_as", "datatype"), OTHERS)
def test_other_inputs_say_how_they_are_read(given: Input, read_as: str, datatype: str) -> None:
    text = card(manifest().model_copy(update={"inputs": (given,)}), evaluated())
    assert read_as in section(text, "Intended use")
    loading = section(text, "How to load it")
    assert f"{given.name} {datatype} (rows, {given.shape[0]}" in loading
    command = loading.split("```sh\n")[1].split("```")[0]
    arguments = shlex.split(command.replace("\\\n", " "))
    assert list(json.loads(arguments[arguments.index("-d") + 1])[0]) == [given.name]


def test_a_forecast_says_how_far_it_sees() -> None:
    output = Output(name="value", datatype=Datatype.FP32, shape=(-1, 24))
    text = card(manifest(()).model_copy(update={"outputs": (output,)}), evaluated(classes=0))
    assert "the next 24 values" in section(text, "Intended use")


GOOD = {
    "gap": 2e-7, "relative_gap": 3e-8, "shapley_agreement": 0.99, "deletion": 0.4,
    "insertion": 0.5, "infidelity": 0.01, "sensitivity": 0.02, "randomization": 0.1,
}  # fmt: skip


def explained(**changes: float) -> Manifest:
    described = Explanation(
        method="deep", columns=("age",), outputs=("good",), unit="log-odds", base=(0.1,),
        scale=(1.0,), background=100, tolerance=1e-4, quality=GOOD | changes,
    )  # fmt: skip
    return manifest().model_copy(update={"explanation": described})


def test_the_scores_of_the_explanation_are_told_with_what_they_mean() -> None:
    text = card(explained(), evaluated())
    table = section(text, "Quantitative analyses").split("### How good the explanation is")[1]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [
        score.title for score in SCORES.values()
    ]
    assert "| Relative gap | 3e-08 | at most 0.0001, required | passes |" in table
    assert "| Insertion | 0.5 | at least 0.05 | passes |" in table
    assert "fails:" not in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"relative_gap": 2e-3}, "some values do not add up"),
        ({"randomization": 0.8}, "the values rank the inputs much the same"),
    ],
)
def test_an_explanation_that_fails_says_so_where_it_is_read(
    changes: dict[str, float], reason: str
) -> None:
    text = card(explained(**changes), evaluated())
    for title in ("Quantitative analyses", "Caveats and recommendations"):
        assert f"The explanation fails: {reason}" in section(text, title)
    assert section(text, "Quantitative analyses").count("| fails |") == 1


def test_a_weak_score_is_no_failure() -> None:
    text = card(explained(deletion=-0.2), evaluated())
    assert "| Deletion | -0.2 | at least 0.05 | weak |" in text
    assert "fails:" not in text


def test_without_scores_none_are_told() -> None:
    assert "How good the explanation is" not in card(manifest(), evaluated())
