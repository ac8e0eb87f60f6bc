"""What pixels, steps and tokens mean over all explained rows, as tables."""

from collections import defaultdict
from typing import Any

import numpy as np

from pellucid_pipelines.explain import Explained, Places
from pellucid_pipelines.global_explanation.subject import Floats

_TOKENS = 2000  # rows of the table


def token_records(explained: Explained) -> list[dict[str, Any]]:
    """Rows of tokens.parquet: what a token adds to an output, over the rows explained by it.

    Those that add most in total come first; `rows` holds the token at least once.
    """
    places = explained.places
    if places is None or not places.pieces:
        return []
    found: dict[tuple[int, str], list[tuple[int, float]]] = defaultdict(list)
    for row, (pieces, values) in enumerate(zip(places.pieces, places.values, strict=True)):
        for piece, value in zip(pieces, values.tolist(), strict=False):
            if token := piece.strip().casefold():
                found[int(places.outputs[row]), token].append((row, value))
    records = [_token(explained, *key, uses) for key, uses in found.items()]
    records.sort(key=lambda each: -each["total_abs_shap"])
    return records[:_TOKENS]


def step_records(explained: Explained) -> list[dict[str, Any]]:
    """Rows of steps.parquet: mean |SHAP| of each column and step; step 0 is a row's last one."""
    places = explained.places
    if places is None or places.modality != "sequence":
        return []
    sizes = by_step(places)
    steps = range(1 - len(sizes), 1)
    return [
        {"column": column, "step": step, "mean_abs_shap": float(sizes[i, c])}
        for c, column in enumerate(explained.columns)
        for i, step in enumerate(steps)
    ]


def by_step(places: Places) -> Floats:
    """(steps, columns) mean |SHAP|, rows aligned at their last step; over rows that reach back."""
    real = places.inputs[..., -1] > 0  # (N, steps), the first ones of each row
    lengths = real.sum(axis=1)
    steps = max(1, int(lengths.max(initial=0)))
    sums, counts = np.zeros((steps, places.values.shape[2])), np.zeros(steps)
    for values, length in zip(places.values, lengths, strict=True):
        sums[steps - length :] += np.abs(values[:length])
        counts[steps - length :] += 1
    return sums / np.maximum(counts, 1)[:, np.newaxis]


def _token(
    explained: Explained, output: int, token: str, uses: list[tuple[int, float]]
) -> dict[str, Any]:
    values = np.array([value for _, value in uses])
    return {
        "token": token,
        "output": explained.outputs[output],
        "rows": len({row for row, _ in uses}),
        "mean_shap": float(values.mean()),
        "mean_abs_shap": float(np.abs(values).mean()),
        "total_abs_shap": float(np.abs(values).sum()),
    }
