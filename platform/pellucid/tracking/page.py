"""How a job looks on the tracker's page of its run: name, tags, parameters, note."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pellucid.resources.jobs import Job
from pellucid.tracking.contract import Tracker


def open_run(tracker: Tracker, job: Job) -> str:
    """The id of the job's run, created or found, and RUNNING. Raises `TrackerUnavailable`."""
    tags = {
        "pellucid.model": job.name,
        "pellucid.attempt": str(job.attempt),
        "pellucid.data_version": job.data_version,
    }
    if job.parent_id is not None:
        tags |= {"pellucid.search": job.parent_id, "pellucid.trial": str(job.trial)}
    return tracker.open_run(job.id, f"{job.name}-{job.id[-8:]}", tags)


def flatten(plan: Mapping[str, Any]) -> dict[str, str]:
    """A plan's leaves by dotted path: `{"model": {"kind": "mlp"}}` is `{"model.kind": "mlp"}`.

    Lists, and parts that are empty, are leaves; they and numbers are written as JSON.
    """
    return dict(_leaves(plan, ""))


def _leaves(part: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{path}{key}", text


def note(job: Job, result: Mapping[str, Any], version: int, reason: str) -> str:
    """What to read first, in Markdown: test metrics with intervals, and where the rest is."""
    return f"""**{job.name}/{version}** from job `{job.id}`. {reason}

{_metric_table(result)}

Where to look:
- *Model metrics*: curves under `train/` and `validation/`, scores under `test/`, `system/`
- *Artifacts*: `card.md`, `plan.yaml`, `figures/`, `tables/`, `shap_values.json`, `log.txt`
- *Models*: `{job.name}` version {version}, with signature, input example and the model card
- *Datasets used*: content `{job.data_version}`
"""


def _metric_table(result: Mapping[str, Any]) -> str:
    lines = ["| test metric | value | interval |", "|---|---|---|"]
    intervals = result.get("intervals", {})
    for name, value in result["metrics"].items():
        limits = " to ".join(f"{limit:.4f}" for limit in intervals.get(name, ()))
        lines.append(f"| {name} | {value:.4f} | {limits} |")
    return "\n".join(lines)
