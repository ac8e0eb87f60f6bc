"""The tables of a global explanation, under names that do not change between versions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.analysis.intervals import Interval
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation.importance import SecondOpinion

IMPORTANCE = "importance.parquet"
DEPENDENCE = "pdp.parquet"
GROUPS = "shap_groups.parquet"
TOKENS = "tokens.parquet"
STEPS = "steps.parquet"

_TEXTS = ("column", "metric", "value", "output", "sensitive", "group", "token")
_COUNTS = ("rows", "step")


def write(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows, if there are any; a column has the same type in every run."""
    if not records:
        return
    kinds = {name: _kind(name) for name in records[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(records), pa.schema(list(kinds.items()))), path)


def importance(
    explained: Explained,
    worth: Mapping[str, Interval],
    metric: str,
    opinion: SecondOpinion | None,
) -> list[dict[str, Any]]:
    """Rows of importance.parquet, the strongest column first; null where it was not measured.

    share: of the sum of mean |SHAP|, which versions and models of any unit can be compared by.
    """
    shap = explained.importance()
    total = sum(shap.values()) or 1.0
    effects = None if opinion is None else np.abs(opinion.effects).mean(axis=0)
    return [
        {
            "column": name,
            "mean_abs_shap": value,
            "share": value / total,
            "metric": metric if name in worth else None,
            "permutation": worth[name].value if name in worth else None,
            "low": worth[name].low if name in worth else None,
            "high": worth[name].high if name in worth else None,
            "lime": None if effects is None else float(effects[explained.columns.index(name)]),
        }
        for name, value in shap.items()
    ]


def _kind(name: str) -> pa.DataType:
    if name in _TEXTS:
        return pa.string()
    return pa.int64() if name in _COUNTS else pa.float64()
