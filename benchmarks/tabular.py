"""Default plans against CatBoost, scikit-learn's gradient boosting and linear models.

    python benchmarks/tabular.py [--only NAME ...] [--seeds 3] [--data FILE:TARGET ...]

Nobody is tuned, and all get the same rows: the others train on all that are not test rows, ours
cuts its validation part from them. The linear model is logistic or ridge regression on
standardised numbers and one-hot categories; CatBoost and gradient boosting take categories as
they are. `--data` adds any CSV or Parquet file, split 80/20 at random.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from runs import trained
from sklearn import datasets, metrics
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pellucid.datasets.splits import Parts
from pellucid_pipelines import environment

ROOT = Path(__file__).parent
SHARED = ROOT.parent.parent / "shared" / "data"
VALIDATION = 0.2  # share of the rows that are not test rows
OURS = "Pellucid"

Rows = np.ndarray
Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A table, its target, and how it is judged. `folds` 0: one split of 80/20 for each seed."""

    name: str
    table: pa.Table
    target: str
    metric: str
    folds: int = 10

    @property
    def regression(self) -> bool:
        return self.metric in ("rmse", "r2")

    @property
    def truth(self) -> np.ndarray:
        """(N,) values, or class indices in sorted order."""
        values = self.table[self.target].to_numpy(zero_copy_only=False)
        return (
            values.astype(float) if self.regression else np.unique(values, return_inverse=True)[1]
        )

    def splits(self, seed: int) -> Iterator[tuple[Rows, Rows]]:
        """(rows to learn from, test rows)."""
        rows, truth = np.arange(len(self.table)), self.truth
        layers = None if self.regression else truth
        if not self.folds:
            learn, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=layers)
            yield np.sort(learn), np.sort(test)  # our predictions come in the table's order
            return
        folds = KFold if self.regression else StratifiedKFold
        yield from folds(self.folds, shuffle=True, random_state=seed).split(rows, truth)


# Contenders: (task, rows to learn from, test rows, seed) -> (n,) values or (n, K) probabilities.


def ours(model: str | None) -> Callable[[Task, Rows, Rows, int], np.ndarray]:
    """The default plan, of a kind of network if one is named."""

    def fit(task: Task, learn: Rows, test: Rows, seed: int) -> np.ndarray:
        content = {
            "target": task.target,
            "task": "regression" if task.regression else "classification",
            "split": {"kind": "random"},
            "training": {"seed": seed},
            **({"model": {"kind": model}} if model else {}),
        }
        return trained(task.table, {}, content, parts_of(task, learn, test, seed)).prediction

    return fit


def parts_of(task: Task, learn: Rows, test: Rows, seed: int) -> Parts:
    """Our validation rows are cut from those that everyone learns from."""
    layers = None if task.regression else task.truth[learn]
    rows, validation = train_test_split(
        learn, test_size=VALIDATION, random_state=seed, stratify=layers
    )
    return Parts(np.sort(rows), np.sort(validation), np.sort(test))


def linear(task: Task, learn: Rows, test: Rows, _seed: int) -> np.ndarray:
    encode = make_column_transformer(
        (
            OneHotEncoder(handle_unknown="ignore"),
            make_column_selector(dtype_include=["category"]),
        ),
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_exclude=["category"]),
        ),
    )
    model = Ridge() if task.regression else LogisticRegression(max_iter=5000)
    return sklearn_like(make_pipeline(encode, model), task, learn, test)


def boosting(task: Task, learn: Rows, test: Rows, seed: int) -> np.ndarray:
    kind = HistGradientBoostingRegressor if task.regression else HistGradientBoostingClassifier
    return sklearn_like(kind(random_state=seed), task, learn, test)


def catboost(task: Task, learn: Rows, test: Rows, seed: int) -> np.ndarray:
    import catboost

    frame = frame_of(task)
    texts = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    kind = catboost.CatBoostRegressor if task.regression else catboost.CatBoostClassifier
    model = kind(
        random_seed=seed, verbose=False, allow_writing_files=False, thread_count=1,
        cat_features=texts,
    )  # fmt: skip
    return sklearn_like(model, task, learn, test)


def sklearn_like(model: object, task: Task, learn: Rows, test: Rows) -> np.ndarray:
    frame, truth = frame_of(task), task.truth
    model.fit(frame.iloc[learn], truth[learn])
    held_out = frame.iloc[test]
    if task.regression:
        return np.asarray(model.predict(held_out)).ravel()
    return np.asarray(model.predict_proba(held_out))


def frame_of(task: Task) -> pd.DataFrame:
    """The features; texts and flags as categories, moments as seconds."""
    frame = task.table.drop_columns([task.target]).to_pandas()
    for name in frame:
        if pd.api.types.is_datetime64_any_dtype(frame[name]):
            frame[name] = frame[name].astype("int64") / 1e6
        elif not pd.api.types.is_numeric_dtype(frame[name]) or frame[name].dtype == bool:
            frame[name] = frame[name].astype(object).fillna("").astype(str).astype("category")
    return frame


def scores(task: Task, prediction: np.ndarray, test: Rows) -> Scores:
    """Every score of one test part; which ones are better low: rmse, log_loss."""
    truth = task.truth[test]
    if task.regression:
        rmse = metrics.root_mean_squared_error(truth, prediction)
        return {"rmse": float(rmse), "r2": float(metrics.r2_score(truth, prediction))}
    binary = prediction.shape[1] == 2
    auc = metrics.roc_auc_score(
        truth, prediction[:, 1] if binary else prediction / prediction.sum(1, keepdims=True),
        multi_class="ovr",
    )  # fmt: skip
    return {
        "roc_auc": float(auc),
        "accuracy": float((prediction.argmax(axis=1) == truth).mean()),
        "log_loss": float(metrics.log_loss(truth, prediction, labels=range(prediction.shape[1]))),
    }


CONTENDERS = {"CatBoost": catboost, "HistGradientBoosting": boosting, "Linear": linear}


def run(task: Task, contenders: dict[str, Callable], seeds: int) -> dict[str, dict]:
    """Contender -> score -> (seeds, folds) values, and `seconds` of a fit."""
    results: dict[str, dict] = {}
    for name, fit in contenders.items():
        found, started, fits = [], time.process_time(), 0
        for seed in range(seeds):
            folds = []
            for learn, test in task.splits(seed):
                folds.append(scores(task, fit(task, learn, test, seed), test))
                fits += 1
            found.append(folds)
        results[name] = {
            key: [[fold[key] for fold in folds] for folds in found] for key in found[0][0]
        }
        results[name]["cpu_seconds"] = (time.process_time() - started) / fits
        mean = np.mean(results[name][task.metric])
        print(f"{task.name}: {name} {task.metric} {mean:.4f}", flush=True)
    return results


def verdict(task: Task, results: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Contender -> mean, and by how much ours is better, with its standard error.

    The error is of the paired differences, over folds (means of the seeds) or else over seeds.
    """
    sign = -1.0 if task.metric in ("rmse", "log_loss") else 1.0
    mine = np.array(results[OURS][task.metric])
    told = {}
    for name, result in results.items():
        values = np.array(result[task.metric])
        differences = (sign * (mine - values)).ravel()
        folds = max(2, task.folds or len(differences))
        error = differences.std(ddof=1) / np.sqrt(folds) if len(differences) > 1 else np.nan
        told[name] = {
            "mean": float(values.mean()),
            "ours_better_by": float(differences.mean()),
            "standard_error": float(error),
        }
    return told


def report(found: dict[str, tuple[Task, dict]], seeds: int, path: Path) -> None:
    lines = [f"# Default plans on tables, mean of {seeds} seeds", ""]
    lines += [
        "The others train on all rows that are not test rows; ours stops by a fifth of them. "
        "Behind each figure: by how much ours is better, plus or minus one standard error of the "
        "paired differences.",
        "",
    ]
    names = [OURS, *CONTENDERS]
    lines.append("| data | rows | score | " + " | ".join(names) + " | CPU seconds a fit |")
    lines.append("|---|---:|---|" + "---:|" * (len(names) + 1))
    content = {}
    for key, (task, results) in found.items():
        told = verdict(task, results)
        cells = []
        for name in names:
            each = told[name]
            text = f"{each['mean']:.4f}"
            if name != OURS:
                text += f" ({each['ours_better_by']:+.4f} ± {each['standard_error']:.4f})"
            cells.append(f"**{text}**" if name == OURS else text)
        split = f"{task.folds} folds" if task.folds else "80/20"
        seconds = results[OURS]["cpu_seconds"]
        lines.append(
            f"| {key} | {len(task.table):,} | {task.metric}, {split} | "
            + " | ".join(cells)
            + f" | {seconds:.1f} |"
        )
        content[key] = {"rows": len(task.table), "metric": task.metric, "verdict": told} | {
            "scores": results
        }
    versions = {"cpu": environment.cpu_name(), **environment.versions()}
    kept = ("python", "pellucid", "torch", "scikit-learn", "catboost", "numpy")
    stated = ", ".join(f"{name} {versions[name]}" for name in kept if name in versions)
    lines += ["", f"{versions['cpu']}. Versions: {stated}."]
    text = "\n".join(lines) + "\n"
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    content = {"seeds": seeds, "versions": versions, "tasks": content}
    path.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def tasks() -> dict[str, Callable[[], Task]]:
    """The tables at hand, by name; those of the shared folder only where it is."""
    found: dict[str, Callable[[], Task]] = {
        "wine": lambda: bundled(datasets.load_wine, "wine", "accuracy"),
        "breast cancer": lambda: bundled(datasets.load_breast_cancer, "breast cancer", "accuracy"),
        "diabetes": lambda: bundled(datasets.load_diabetes, "diabetes", "r2"),
    }
    credit, bike = SHARED / "german_credit.csv", SHARED / "bike_hour.csv"
    if credit.exists():
        found["german credit"] = lambda: Task(
            "german credit", canonical(pc.read_csv(credit)), "credit", "roc_auc"
        )
    if bike.exists():
        left_out = ["instant", "dteday", "casual", "registered"]  # a key, the time, and two leaks
        found["bike hour"] = lambda: Task(
            "bike hour", canonical(pc.read_csv(bike).drop_columns(left_out)), "cnt", "rmse", 0
        )
    return found


def bundled(load: Callable, name: str, metric: str) -> Task:
    frame = load(as_frame=True).frame
    return Task(
        name, canonical(pa.Table.from_pandas(frame, preserve_index=False)), "target", metric
    )


def named(argument: str) -> Task:
    """FILE:TARGET as a task; its metric follows from the target."""
    file, _, target = argument.rpartition(":")
    path = Path(file)
    table = canonical(pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path))
    table = table.filter(table[target].is_valid())
    classes = len(table[target].unique())
    integers = pa.types.is_integer(table[target].type)
    if pa.types.is_floating(table[target].type) or (integers and classes > 20):
        metric = "rmse"
    else:
        metric = "roc_auc" if classes == 2 else "accuracy"
    return Task(path.stem, table, target, metric, 0)


def canonical(table: pa.Table) -> pa.Table:
    """The same in the types in which Pellucid stores columns."""

    def one(column: pa.ChunkedArray) -> pa.ChunkedArray:
        kind = column.type
        if pa.types.is_dictionary(kind):
            return one(column.cast(kind.value_type))
        if pa.types.is_boolean(kind):
            return column
        if pa.types.is_integer(kind):
            return column.cast(pa.int64())
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return column.cast(pa.float64())
        if pa.types.is_temporal(kind) and not pa.types.is_time(kind):
            return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        return column.cast(pa.string())

    return pa.table({name: one(table[name]) for name in table.column_names})


def main() -> None:
    arguments = parse()
    known = tasks()
    names = arguments.only if arguments.only is not None else list(known)
    chosen = [known[name]() for name in names] + [named(each) for each in arguments.data]
    contenders = {OURS: ours(arguments.model), **CONTENDERS}
    found = {task.name: (task, run(task, contenders, arguments.seeds)) for task in chosen}
    report(found, arguments.seeds, arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help=f"some of: {', '.join(tasks())}; none: no table")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="*", default=[], metavar="FILE:TARGET")
    parser.add_argument("--model", help="a kind of network. Default: the plan's")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "tabular")
    return parser.parse_args()


if __name__ == "__main__":
    main()
