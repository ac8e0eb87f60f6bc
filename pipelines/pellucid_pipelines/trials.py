"""What sets the trials of a search, and its winner, apart from other runs."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.jobs.workspace import Metric, Workspace, read_spool
from pellucid_pipelines.diagnostics import report
from pellucid_pipelines.loop import State

_KEY = "validation/"


def summary(workspace: Workspace, state: State) -> dict[str, Any]:
    """How far a fit came, and its scores on the validation rows in its best epoch."""
    scores: dict[str, float] = {}
    for _, entry in read_spool(workspace.metrics_path):
        point = Metric(**entry)
        if point.key.startswith(_KEY) and point.step == state.best_epoch:
            scores.setdefault(point.key.removeprefix(_KEY), point.value)
    scores["loss"] = state.best_loss
    return {"validation": scores, "epochs": state.epoch, "best_epoch": state.best_epoch}


def result(summary: dict[str, Any], state: State, seconds: float) -> dict[str, Any]:
    """What `result.json` of a trial holds."""
    findings = report.tag(report.of_run(state.memory))
    return summary | {"findings": findings, "seconds": round(seconds, 3)}


def draw(study: dict[str, Any] | None, workspace: Workspace) -> None:
    """Draw and tabulate the trials of the search whose winner this is; if it is one's."""
    if study is None:
        return
    from pellucid_pipelines.search_figures import search_figures  # optuna, matplotlib

    search_figures(study, workspace.figures)
    _write_table(study, workspace)


def _write_table(study: dict[str, Any], workspace: Workspace) -> None:
    """Write tables/trials.parquet: a row per trial, a column per path of the space, as text."""
    rows = [
        {key: trial[key] for key in ("trial", "job", "status", "value")}
        | {path: str(value) for path, value in trial["params"].items()}
        for trial in study["trials"]
    ]
    workspace.tables.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), workspace.tables / "trials.parquet")
