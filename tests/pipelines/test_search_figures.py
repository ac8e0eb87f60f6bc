"""The figures and the table of a search, and how much its result depends on what."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pellucid.jobs.workspace import Spool, Workspace, metric_entries
from pellucid.plan import Search
from pellucid.resources.jobs import JobStatus
from pellucid.search.study import Trial
from pellucid_pipelines import trials
from pellucid_pipelines.loop import State
from pellucid_pipelines.search_figures import importance, search_figures

SPACE = {
    "optimizer.lr": {"kind": "range", "low": 1e-4, "high": 0.1, "log": True},
    "model.widths": {"kind": "choice", "values": [[8], [16, 16]]},
    "training.batch_size": {"kind": "range", "low": 16, "high": 64, "integer": True},
}


def a_study(count: int = 12, space: dict[str, Any] = SPACE, value: Any = None) -> dict[str, Any]:
    """Trials whose value depends on the learning rate alone; the last one failed."""
    random = np.random.default_rng(0)
    told = []
    for number in range(count):
        params = {
            "optimizer.lr": float(10 ** random.uniform(-4, -1)),
            "model.widths": [[8], [16, 16]][number % 2],
            "training.batch_size": int(random.integers(16, 65)),
        }
        found = value or abs(np.log10(params["optimizer.lr"]) + 2)
        told.append(
            {
                "trial": number,
                "job": f"j{number}",
                "status": "failed" if number == count - 1 else "succeeded",
                "value": None if number == count - 1 else float(found),
                "params": {path: params[path] for path in space},
            }
        )
    return {"search": {"space": space}, "trials": told}


def test_all_figures_are_drawn(tmp_path: Path) -> None:
    search_figures(a_study(), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"search_history.png", "parallel_coordinates.png", "search_importance.png"}


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (a_study(1), set()),
        (a_study(2), {"search_history.png"}),
        (a_study(5, value=0.5), {"search_history.png"}),
        (
            a_study(5, {"optimizer.lr": SPACE["optimizer.lr"]}),
            {"search_history.png", "parallel_coordinates.png"},
        ),
    ],
)
def test_what_says_nothing_is_not_drawn(
    tmp_path: Path, study: dict[str, Any], expected: set[str]
) -> None:
    search_figures(study, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_importance_finds_what_matters() -> None:
    study = a_study(40)
    done = [
        Trial(t["trial"], t["params"], JobStatus(t["status"]), t["value"]) for t in study["trials"]
    ]
    shares = importance(Search.model_validate(study["search"]), done)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["optimizer.lr"] > 0.7


def test_the_table_has_a_row_per_trial(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    trials.draw(a_study(4), workspace)
    table = pq.read_table(workspace.tables / "trials.parquet")
    assert table["trial"].to_pylist() == [0, 1, 2, 3]
    assert table["value"].null_count == 1
    assert table["model.widths"].to_pylist()[:2] == ["[8]", "[16, 16]"]


def test_the_summary_is_of_the_best_epoch(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    spool = Spool(workspace.metrics_path)
    for epoch in (1, 2, 3):
        spool.append(*metric_entries({"validation/auc": epoch / 10, "train/loss": 1.0}, epoch))
    spool.append(*metric_entries({"validation/auc": 0.9}, 2))  # a later attempt's repetition
    spool.close()
    state = State(epoch=3, losses=[0.5, 0.25, 0.75], best_epoch=2)
    assert trials.summary(workspace, state) == {
        "validation": {"auc": 0.2, "loss": 0.25},
        "epochs": 3,
        "best_epoch": 2,
    }
