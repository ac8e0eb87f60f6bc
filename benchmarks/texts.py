"""Both text models, with their default plans, against TF-IDF with logistic regression.

    python benchmarks/texts.py [--seeds 3] [--rows 6000] [--only KIND ...]

The task is `pellucid.datasets.synthetic_reviews`: is the product recommended? Each seed makes other
reviews. The last fifth is the test part. The linear model is fitted on all other rows, once on
words and once on words and pairs of words; ours cuts its validation part from them.
"""

import argparse
import json

import numpy as np
from runs import RESULTS, footer, trained, write
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from pellucid.datasets.splits import Parts
from pellucid.datasets.synthetic_reviews import reviews

KINDS = ("bag_of_words", "transformer")
LINEAR = {"TF-IDF of words, logistic regression": 1, "the same, and pairs of words": 2}


def main() -> None:
    arguments = parse()
    scores: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        table, roles = reviews(arguments.rows, seed=100 + seed)
        learn, test = np.split(np.arange(len(table)), [len(table) * 4 // 5])
        parts = Parts(*np.split(learn, [len(learn) * 7 // 8]), test)
        for kind in arguments.only or KINDS:
            content = {
                "model": {"kind": kind},
                "modality": "text",
                "training": {"seed": seed},
            }
            run = trained(table, roles, content, parts)
            scores.setdefault(kind, []).append(run.accuracy)
            seconds.setdefault(kind, []).append(run.cpu_seconds)
            print(f"seed {seed}, {kind}: {run.accuracy:.4f}, {run.epochs} epochs,", end=" ")
            print(f"{run.cpu_seconds:.0f} s", flush=True)
        texts = np.array(table["text"].to_pylist())
        truth = table["recommended"].to_numpy()
        for name, words in LINEAR.items():
            model = make_pipeline(
                TfidfVectorizer(ngram_range=(1, words)), LogisticRegression(max_iter=1000)
            ).fit(texts[learn], truth[learn])
            scores.setdefault(name, []).append(float(model.score(texts[test], truth[test])))
    report(scores, seconds, arguments.rows)


def report(scores: dict[str, list[float]], seconds: dict[str, list[float]], rows: int) -> None:
    seeds = len(next(iter(scores.values())))
    lines = [
        f"# Accuracy on {rows // 5:,} of {rows:,} generated reviews, default plans, {seeds} seeds",
        "",
        "| | " + " | ".join(f"seed {seed}" for seed in range(seeds)) + " | mean | s.e. | CPU s |",
        "|---|" + "---:|" * (seeds + 3),
    ]
    for name, values in scores.items():
        error = np.std(values, ddof=1) / seeds**0.5 if seeds > 1 else float("nan")
        taken = f"{np.mean(seconds[name]):.0f}" if name in seconds else ""
        cells = [*(f"{value:.4f}" for value in values), f"**{np.mean(values):.4f}**"]
        lines.append(f"| {name} | {' | '.join(cells)} | {error:.4f} | {taken} |")
    write("texts", lines + footer())
    content = {"rows": rows, "accuracy": scores, "cpu_seconds": seconds}
    (RESULTS / "texts.json").write_text(json.dumps(content, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--only", nargs="*", choices=KINDS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
