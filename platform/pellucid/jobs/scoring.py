"""An attempt of a scoring: a data set version through a model version, to a Parquet file."""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pellucid.jobs.attempt import Attempt, Ending
from pellucid.jobs.publishing import interruptible
from pellucid.jobs.workspace import ScoringRequest
from pellucid.plan.scoring import ScoringPlan
from pellucid.resources import Dataset, JobStatus


def scoring_command(directory: Path) -> list[str]:
    """The command line that scores the job of a directory; either extra brings what it imports."""
    return [sys.executable, "-m", "pellucid_api.scoring", str(directory)]


class ScoringAttempt(Attempt):
    """Brings the bundle here, scores, and registers the predictions where that is wanted."""

    what = "Scoring"

    def _prepare(self) -> list[str]:
        plan, bundle = self._plan, self._workspace.initial
        _, path = self._patiently(lambda: self._content(plan.dataset))
        shutil.rmtree(bundle, ignore_errors=True)  # another attempt may have died over it
        registry = self._tools.publisher.registry
        self._patiently(lambda: registry.download(plan.model, plan.version, bundle))
        self._workspace.write_request(
            ScoringRequest(plan=plan, data_path=str(path), device=self._tools.device)
        )
        return self._tools.scoring(self._workspace.root)

    def _conclude(self, result: dict[str, Any]) -> Ending:
        said = f"Scored {result['rows']:,} rows with {self._plan.model}/{self._plan.version}."
        if self._plan.register_as is not None:
            dataset = self._patiently(lambda: interruptible(self._register, self._lease))
            result = result | {"dataset": f"{dataset.name}@{dataset.version}"}
            said += f" The predictions are {result['dataset']}."
        queue = self._tools.queue
        return partial(queue.finish, self._claim, JobStatus.SUCCEEDED, said, result=result)

    def _register(self) -> Dataset:
        """The predictions as a data set version; the same ones again are the same version."""
        dataset, _ = self._tools.datasets.add(
            self._workspace.predictions,
            name=str(self._plan.register_as),
            parent=self._plan.dataset,
        )
        return dataset

    @property
    def _plan(self) -> ScoringPlan:
        return ScoringPlan.model_validate(self._job.plan)
