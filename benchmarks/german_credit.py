"""Test ROC-AUC of a plan's defaults against scikit-learn's MLPClassifier, on the same splits.

    python benchmarks/german_credit.py [--data german_credit.csv] [--seeds 5]

scikit-learn's network comes in its usual pipeline (one-hot, StandardScaler) with its own defaults.
It has no validation part by default, so it is fitted twice: on the very rows that ours is trained
on, and on those and the validation rows together.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pellucid.datasets import synthetic
from pellucid.datasets.content import ARROW_TYPES
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Column, Role, Schema
from pellucid_pipelines import data, environment
from pellucid_pipelines.data import Data
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict

ROOT = Path(__file__).parent
CPU = torch.device("cpu")
OURS, SAME_ROWS, MORE_ROWS = "Pellucid", "MLPClassifier", "MLPClassifier, also validation rows"


def main() -> None:
    arguments = parse()
    if arguments.data.exists():
        name, table = "German credit", pc.read_csv(arguments.data)
        roles = {"credit": Role.TARGET}
    else:
        name, (table, roles) = "synthetic credit", synthetic.credit(1000)
    scores: dict[str, list[float]] = {OURS: [], SAME_ROWS: [], MORE_ROWS: []}
    seconds = []
    for seed in range(arguments.seeds):
        plan, schema = resolve(
            Plan.parse(
                {"name": "benchmark", "data": {"dataset": "benchmark"}, "training": {"seed": seed}}
            ),
            schema_of(table, roles),
            classes=2,
        )
        examples = data.prepare(table, data.split(table, plan), schema, plan)
        started = time.process_time()
        scores[OURS].append(ours(plan, schema, examples))
        seconds.append(time.process_time() - started)
        scores[SAME_ROWS].append(theirs(examples, examples.parts.train, seed))
        both = np.concatenate([examples.parts.train, examples.parts.validation])
        scores[MORE_ROWS].append(theirs(examples, both, seed))
    report(name, len(table), scores, statistics.mean(seconds))


def ours(plan: Plan, schema: Schema, examples: Data) -> float:
    """Test ROC-AUC of the default network."""
    request = Request(
        job_id="benchmark",
        attempt=1,
        plan=plan.model_dump(mode="json"),
        data_schema=schema,
        data_version="benchmark",
        data_path="",
    )
    with tempfile.TemporaryDirectory() as directory:
        workspace = Workspace(Path(directory))
        with Journal(workspace) as journal:
            network, _ = train(request, plan, examples, CPU, workspace, journal)
    test = examples.parts.test
    return float(roc_auc_score(examples.truth(test), predict(network, examples.rows(test).inputs)))


def theirs(examples: Data, rows: np.ndarray, seed: int) -> float:
    """Test ROC-AUC of scikit-learn's default network, fitted on some rows."""
    features = [column.name for column in examples.schema.having(Role.FEATURE)]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        (StandardScaler(), make_column_selector(dtype_include="number")),
    )
    model = make_pipeline(encode, MLPClassifier(random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its default 200 iterations
        model.fit(examples.take(rows).select(features).to_pandas(), examples.truth(rows))
    test = examples.parts.test
    probability = model.predict_proba(examples.take(test).select(features).to_pandas())[:, 1]
    return float(roc_auc_score(examples.truth(test), probability))


def schema_of(table: pa.Table, roles: dict[str, Role]) -> Schema:
    types = {arrow: storage for storage, arrow in ARROW_TYPES.items()}
    return Schema(
        columns=tuple(
            Column(name=f.name, type=types[f.type], role=roles.get(f.name, Role.FEATURE))
            for f in table.schema
        )
    )


def report(name: str, rows: int, scores: dict[str, list[float]], seconds: float) -> None:
    """Print the table and write it to `results/`."""
    baseline = np.array(scores[OURS])
    seeds = range(len(baseline))
    lines = [
        f"# Test ROC-AUC on {name} ({rows:,} rows), defaults, {len(baseline)} seeds",
        "",
        "| | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | sd | ours minus it |",
        "|---|" + "---:|" * (len(baseline) + 3),
    ]
    for label, values in scores.items():
        difference = float((baseline - values).mean())
        cells = [f"{value:.4f}" for value in values]
        cells += [f"**{np.mean(values):.4f}**", f"{np.std(values, ddof=1):.4f}"]
        cells.append("" if label == OURS else f"{difference:+.4f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    versions = {"cpu": environment.cpu_name(), **environment.versions()}
    lines += ["", f"Training took {seconds:.1f} CPU seconds a seed on {versions['cpu']}."]
    lines.append("Versions: " + ", ".join(f"{key} {versions[key]}" for key in VERSIONS) + ".")
    text = "\n".join(lines) + "\n"
    print(text)
    results = ROOT / "results"
    results.mkdir(exist_ok=True)
    (results / "german_credit.md").write_text(text, encoding="utf-8")
    content = {"data": name, "rows": rows, "roc_auc": scores, "cpu_seconds": seconds}
    content["versions"] = versions
    (results / "german_credit.json").write_text(json.dumps(content, indent=2) + "\n")


VERSIONS = ("python", "pellucid", "torch", "scikit-learn", "numpy")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent.parent / "shared" / "data" / "german_credit.csv"
    parser.add_argument("--data", type=Path, default=shared, help="a CSV with a column `credit`")
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
