"""Attempts of jobs that take a model version over a data set version, to one Parquet file."""

import shutil
import sys
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic

from pellucid.jobs.attempt import Attempt, Command, Ending
from pellucid.jobs.publishing import interruptible
from pellucid.jobs.workspace import AnyPlan, BatchRequest
from pellucid.plan.batch import ExplanationPlan, ScoringPlan
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import JobStatus


def scoring_command(directory: Path) -> list[str]:
    """The command line that scores the job of a directory; either extra brings what it imports."""
    return [sys.executable, "-m", "pellucid_api.scoring", str(directory)]


def explaining_command(directory: Path) -> list[str]:
    """The command line that explains; for permutations it needs shap, of the extra `pipelines`."""
    return [sys.executable, "-m", "pellucid_api.explaining", str(directory)]


class BatchAttempt(Attempt, Generic[AnyPlan]):
    """Brings the bundle here, runs the process, and registers the answers where that is wanted."""

    kind: ClassVar[Any]  # of plan

    @property
    @abstractmethod
    def _command(self) -> Command:
        """Of the process."""

    @abstractmethod
    def _said(self, result: dict[str, Any]) -> str:
        """What was done, in a sentence."""

    def _prepare(self) -> list[str]:
        plan, bundle = self._plan, self._workspace.initial
        _, path = self._patiently(lambda: self._content(plan.dataset))
        shutil.rmtree(bundle, ignore_errors=True)  # another attempt may have died over it
        registry = self._tools.publisher.registry
        self._patiently(lambda: registry.download(plan.model, plan.version, bundle))
        self._workspace.write_request(
            BatchRequest(plan=plan, data_path=str(path), device=self._tools.device)
        )
        return self._command(self._workspace.root)

    def _conclude(self, result: dict[str, Any]) -> Ending:
        said = self._said(result)
        if self._plan.register_as is not None:
            dataset = self._patiently(lambda: interruptible(self._register, self._lease))
            result = result | {"dataset": f"{dataset.name}@{dataset.version}"}
            said += f" The {self._plan.answers} are {result['dataset']}."
        queue = self._tools.queue
        return partial(queue.finish, self._claim, JobStatus.SUCCEEDED, said, result=result)

    def _register(self) -> Dataset:
        """The answers as a data set version; the same ones again are the same version."""
        dataset, _ = self._tools.datasets.add(
            self._workspace.answers(self._plan),
            name=str(self._plan.register_as),
            parent=self._plan.dataset,
        )
        return dataset

    @property
    def _plan(self) -> AnyPlan:
        plan: AnyPlan = self.kind.model_validate(self._job.plan)
        return plan

    @property
    def _with(self) -> str:
        return f"{self._plan.model}/{self._plan.version}"


class ScoringAttempt(BatchAttempt[ScoringPlan]):
    """Predicts."""

    what = "Scoring"
    kind = ScoringPlan

    @property
    def _command(self) -> Command:
        return self._tools.scoring

    def _said(self, result: dict[str, Any]) -> str:
        return f"Scored {result['rows']:,} rows with {self._with}."


class ExplanationAttempt(BatchAttempt[ExplanationPlan]):
    """Explains."""

    what = "Explaining"
    kind = ExplanationPlan

    @property
    def _command(self) -> Command:
        return self._tools.explaining

    def _said(self, result: dict[str, Any]) -> str:
        methods = ", ".join(f"{rows:,} by {method}" for method, rows in result["methods"].items())
        said = f"Explained {result['rows']:,} rows of {self._with}: {methods}."
        if result["above_tolerance"]:
            said += (
                f" {result['above_tolerance']:,} miss the prediction by more than the tolerance, "
                f"{result['tolerance']:g}; the largest gap is {result['largest_gap']:.2g}."
            )
        return said
