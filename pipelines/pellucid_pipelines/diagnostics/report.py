"""The findings of a finished run: written down, counted, and put into the model card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from pellucid.jobs.workspace import Workspace, write_atomically
from pellucid_pipelines.assessment import Assessed
from pellucid_pipelines.data import Data
from pellucid_pipelines.diagnostics import curves, labels
from pellucid_pipelines.diagnostics.findings import RANK, Finding
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import State, predict

FINDINGS = "findings.json"

Plain = dict[str, Any]


def of_run(memory: Mapping[str, Any]) -> list[Plain]:
    """What `callbacks.diagnosing` remembers, the severest first."""
    return _sorted(list(memory.get("diagnostics", {}).get("findings", {}).values()))


def finish(
    state: State,
    network: nn.Module,
    examples: Data,
    assessed: Assessed,
    journal: Journal,
    workspace: Workspace,
) -> list[Plain]:
    """All findings of a run, those on labels included; written to `findings.json` and counted."""
    findings = of_run(state.memory)
    if "diagnostics" not in state.memory:
        return findings
    usable = not {each["code"] for each in findings} & (curves.OPTIMISATION | {"no_signal"})
    if examples.target.task == "classification" and usable:
        told = label_findings(network, examples, assessed)
        for finding in told:
            journal.event("finding", **finding.as_dict())
        findings = _sorted([*findings, *(finding.as_dict() for finding in told)])
    content = json.dumps(findings, indent=2, ensure_ascii=False) + "\n"
    write_atomically(workspace.outputs / FINDINGS, content.encode())
    journal.metrics(counts(findings), 0)
    return findings


def label_findings(network: nn.Module, examples: Data, assessed: Assessed) -> list[Finding]:
    """What predictions of validation and test rows say of their labels; see `labels.check`."""
    validation, test = examples.parts.validation, examples.parts.test
    if not len(validation):  # of an ensemble of folds: its networks learnt from all but test rows
        return list(labels.check(assessed.truth, assessed.prediction, test))
    raw = predict(network, examples.rows(validation).inputs)
    probabilities = np.concatenate([examples.target.head()(raw).numpy(), assessed.prediction])
    truth = np.concatenate([examples.truth(validation), assessed.truth])
    return list(labels.check(truth, probabilities, np.concatenate([validation, test])))


def counts(findings: Sequence[Plain]) -> dict[str, float]:
    """How many findings there are of each severity, as metrics."""
    return {
        f"diagnostics/findings_{severity}": float(sum(f["severity"] == severity for f in findings))
        for severity in RANK
    }


def tag(findings: Sequence[Plain]) -> str:
    """The codes of findings that are more than news, in one line."""
    return ", ".join(f["code"] for f in findings if f["severity"] != "info") or "none"


def _sorted(findings: list[Plain]) -> list[Plain]:
    return sorted(findings, key=lambda f: -RANK[f["severity"]])
