"""SHAP values by sensitive group: does the model lean on a stand-in for the group?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pellucid.analysis.groups import groups_of
from pellucid.analysis.leaning import Leaning, leaning
from pellucid_pipelines.explain import Explained


def by_group(
    explained: Explained, sensitive: Mapping[str, np.ndarray], confidence: float
) -> dict[str, list[Leaning]]:
    """Sensitive column -> its groups.

    The values of a group are (columns + 1, outputs): last comes the prediction, their sum.

    Args:
        explained: N rows.
        sensitive: column -> (N,) raw values of the same rows.
        confidence: of the intervals.
    """
    total = (explained.prediction - explained.base)[:, np.newaxis]
    values = np.concatenate([explained.values, total], axis=1)
    return {
        name: [leaning(values, group, confidence) for group in groups_of(name, cells)]
        for name, cells in sensitive.items()
    }


def records(explained: Explained, found: Mapping[str, list[Leaning]]) -> list[dict[str, Any]]:
    """Rows of shap_groups.parquet; the column "" is the prediction less the base."""
    return [
        {
            "sensitive": sensitive,
            "group": each.group.name,
            "rows": len(each.group.rows),
            "column": column,
            "output": output,
            "mean_shap": float(each.mean[c, k]),
            "low": float(each.low[c, k]),
            "high": float(each.high[c, k]),
            "mean_abs_shap": float(each.size[c, k]),
            "gap": float(each.gap[c, k]),
            "gap_low": float(each.gap_low[c, k]),
            "gap_high": float(each.gap_high[c, k]),
        }
        for sensitive, groups in found.items()
        for each in groups
        for c, column in enumerate((*explained.columns, ""))
        for k, output in enumerate(explained.outputs)
    ]
