"""One attempt of a scoring job: `python -m pellucid_api.scoring JOB_DIR`; see `batch_jobs`.

Needs neither the service nor its libraries for HTTP.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pellucid.bundle import Bundle
from pellucid.jobs.workspace import BatchRequest, Workspace
from pellucid.parts import beside, divide
from pellucid.plan.batch import ScoringPlan
from pellucid_api import batch_jobs
from pellucid_api.engine.devices import choose_device
from pellucid_api.engine.frames import table_of
from pellucid_api.engine.model import Model
from pellucid_api.engine.tables import decode_table
from pellucid_api.rowwise import run_rows

_RUN_ROWS = 1024  # at once: a network's layers take far more memory than its rows


def run(workspace: Workspace) -> None:
    """Score what is left of the rows, and commit the predictions."""
    batch_jobs.run(workspace, ScoringPlan, _begin)


class Scorer:
    """A model over the rows of a Parquet file, in memory that the file's size does not change.

    Args:
        model: opened and verified.
        plan: which columns are kept.
    """

    stage = "score"
    width = 1

    def __init__(self, model: Model, plan: ScoringPlan) -> None:
        self._model = model
        self._inputs = model.manifest.inputs
        self._keep = plan.keep
        self._told = {"model": plan.model, "version": str(plan.version)}

    def places(self, rows: int) -> Sequence[int]:
        """All of them."""
        return range(rows)

    def answers(self, file: pq.ParquetFile, places: Sequence[int]) -> Iterator[Any]:
        """Tables of the kept columns and the predictions.

        Raises:
            InvalidRows: a row does not fit the model, or the model cannot run it.
            InvalidData: the file is damaged.
        """
        names = [each.name for each in self._inputs]
        sent, kept = divide(file.schema_arrow.names, names, self._keep)
        most = batch_jobs.rows_of(self._inputs)
        for here, table in batch_jobs.batches(file, places, most, list({*sent, *kept})):
            answered = self._answer(table.select(sent), here)
            yield beside(table.select(kept), answered)

    def summary(self, path: Path) -> dict[str, Any]:
        """Nothing: predictions are not measured."""
        return {}

    def _answer(self, table: Any, here: Sequence[int]) -> Any:
        feed = decode_table(
            table, self._inputs, len(here), self._model.tokenizer, first=here[0] + 1
        )
        return table_of(
            self._model.manifest,
            run_rows(self._model.run, feed, here, _RUN_ROWS),
            None,
            self._told,
        )


def _begin(bundle: Bundle, request: BatchRequest[ScoringPlan]) -> Scorer:
    """With the model, verified as it is before it serves."""
    model = Model(bundle, choose_device(request.device))
    model.verify()
    return Scorer(model, request.plan)


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    return batch_jobs.main(run)


if __name__ == "__main__":
    batch_jobs.leave(main())
