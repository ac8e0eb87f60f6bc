"""One attempt of an explanation job: `python -m pellucid_api.explaining JOB_DIR`.

See `batch_jobs`. Needs neither the service nor its libraries for HTTP; for permutations it needs
shap, of the extra `pipelines`, which a worker has.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.bundle import EXPLAINER, Bundle, Explanation
from pellucid.errors import InvalidInput, InvalidRows
from pellucid.jobs.workspace import BatchRequest, Workspace
from pellucid.parts import beside, divide
from pellucid.plan.batch import ExplanationPlan
from pellucid_api import batch_jobs
from pellucid_api.attributing import PERMUTATION, Attributions, Explained
from pellucid_api.engine.devices import Place, choose_device
from pellucid_api.engine.model import Model
from pellucid_api.engine.tables import decode_table
from pellucid_api.rowwise import Feed

_SEED = 0  # of a sample
_ROWS = 64  # at once
_PERMUTED_ROWS = 8
_PART_SECONDS = 5.0  # of work that a crash may cost


def run(workspace: Workspace) -> None:
    """Explain what is left of the rows, and commit their SHAP values."""
    batch_jobs.run(workspace, ExplanationPlan, _begin)


class Explainer:
    """A model's explanations for the rows of a Parquet file.

    Args:
        model: verified.
        told: what its manifest says of them.
        attributions: of the plan's method.
        plan: which rows, and which columns are kept.
    """

    stage = "explain"

    def __init__(
        self, model: Model, told: Explanation, attributions: Attributions, plan: ExplanationPlan
    ) -> None:
        self._tokenizer, self._inputs = model.tokenizer, model.manifest.inputs
        self._told, self._attributions, self._plan = told, attributions, plan
        self.width = attributions.width

    def places(self, rows: int) -> Sequence[int]:
        """All, or a random sample; the same in every attempt."""
        if self._plan.rows is None or self._plan.rows >= rows:
            return range(rows)
        drawn = np.random.default_rng(_SEED).choice(rows, self._plan.rows, replace=False)
        return [int(place) for place in np.sort(drawn)]

    def answers(self, file: pq.ParquetFile, places: Sequence[int]) -> Iterator[Any]:
        """Tables of the kept columns and the SHAP values, as `_table` describes them.

        Raises:
            InvalidRows: a row does not fit the model, or the model cannot run it.
            InvalidData: the file is damaged.
        """
        return _collected(self._tables(file, places))

    def summary(self, path: Path) -> dict[str, Any]:
        """How many rows by which method, and how far they are from the predictions."""
        methods: Counter[str] = Counter()
        largest, above = 0.0, 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["method", "gap"]):
                gaps = np.nan_to_num(batch["gap"].to_numpy(), nan=np.inf)
                methods.update(batch["method"].to_pylist())
                largest = max(largest, float(gaps.max(initial=0.0)))
                above += int((gaps > self._told.tolerance).sum())
        return {
            "methods": {method: count // self.width for method, count in methods.items()},
            "largest_gap": largest,
            "above_tolerance": above,
            "tolerance": self._told.tolerance,
        }

    def _tables(self, file: pq.ParquetFile, places: Sequence[int]) -> Iterator[Any]:
        names = [each.name for each in self._inputs]
        sent, kept = divide(file.schema_arrow.names, names, self._plan.keep)
        most = _PERMUTED_ROWS if self._plan.method == PERMUTATION else _ROWS
        most = min(most, batch_jobs.rows_of(self._inputs))
        for here, table in batch_jobs.batches(file, places, most, list({*sent, *kept})):
            explained = self._attributions.explain(self._decoded(table.select(sent), here), here)
            repeated = np.repeat(np.arange(len(here)), self.width)
            yield beside(table.select(kept).take(repeated), self._table(explained, here))

    def _decoded(self, table: Any, here: Sequence[int]) -> Feed:
        decode = partial(decode_table, inputs=self._inputs, tokenizer=self._tokenizer)
        try:
            return decode(table, max_rows=len(here), first=here[0] + 1)
        except InvalidRows:
            for i, place in enumerate(here):  # rows of a sample do not follow one another
                decode(table.slice(i, 1), max_rows=1, first=place + 1)
            raise

    def _table(self, explained: Explained, here: Sequence[int]) -> Any:
        """row, from 1; class, where there are several outputs; shap_<column>; places_<column>;
        base; prediction; gap, relative to the manifest's scale; method. Each row comes once for
        each output that is explained."""
        count = self.width
        columns: dict[str, Any] = {"row": np.repeat(np.array(here) + 1, count)}
        if len(self._told.outputs) > 1:
            columns["class"] = pa.array(np.array(self._told.outputs)[explained.outputs].ravel())
        for i, name in enumerate(self._told.columns):
            columns[f"shap_{name}"] = explained.shap[:, i].ravel()
        for name, places in zip(self._told.columns, explained.places_by_column(), strict=False):
            size = places.shape[-1]
            columns[f"places_{name}"] = pa.FixedSizeListArray.from_arrays(places.ravel(), size)
        columns["base"] = explained.base.ravel()
        columns["prediction"] = explained.explained.ravel()
        columns["gap"] = explained.gaps(self._told).ravel()
        columns["method"] = pa.array(np.repeat(explained.methods, count), pa.string())
        told = {"model": self._plan.model, "version": str(self._plan.version)}
        return pa.table(columns).replace_schema_metadata(told | {"unit": self._told.unit})


def _collected(tables: Iterator[Any]) -> Iterator[Any]:
    """The tables of some seconds as one."""
    held: list[Any] = []
    began = time.monotonic()
    for table in tables:
        held.append(table)
        if time.monotonic() - began >= _PART_SECONDS:
            yield pa.concat_tables(held)
            held, began = [], time.monotonic()
    if held:
        yield pa.concat_tables(held)


def _begin(bundle: Bundle, request: BatchRequest[ExplanationPlan]) -> Explainer:
    """With the graphs, seen to be those of a model that is verified as before it serves.

    Raises:
        InvalidInput: the version has no explainer.
    """
    told, plan = bundle.manifest.explanation, request.plan
    if told is None or not (bundle.root / EXPLAINER).is_file():
        raise InvalidInput(
            f"The bundle of {plan.model}/{plan.version} has no {EXPLAINER}.",
            remedy="Train the model again with this version of Pellucid.",
        )
    device = choose_device(request.device)
    model = Model(bundle, device)
    model.verify()
    attributions = Attributions(model, told, plan, Place.of(device).each[0])
    return Explainer(model, told, attributions, plan)


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    # numba, of shap, would compile for longer than the loops take that it makes faster.
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
    return batch_jobs.main(run)


if __name__ == "__main__":
    batch_jobs.leave(main())
