"""How exact explain.onnx is on data: do its values add up, and are they Shapley values?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from explaining.bundles import (
    Content,
    Data,
    Feed,
    Packed,
    credit,
    digits,
    packed,
    read_digits,
    tumours,
)
from explaining.speed import MLP, TABM
from pellucid import bundle
from pellucid_pipelines.explain.exact import exact_values

_FINER, _MOST_STEPS = 4, 512  # as the server does
_SHARES = "explain/shares"
_HELD = 64  # most rows of a run
_COLUMNS = 10


def tasks(shared: Path) -> Iterator[tuple[str, str, Data | None, Content]]:
    """Task, network, data (None: not at hand), and what the plan says."""
    for name, kind in (("MLP", "mlp"), ("TabM", "tabm"), ("FT-Transformer", "ft_transformer")):
        yield "German credit", name, credit(), {"model": {"kind": kind}}
    yield "Digits", "CNN", digits(), {"model": {"kind": "cnn"}}
    few = {"rows": 16}  # whose values, of every digit, a training gives: a second each
    content: Content = {"model": {"kind": "gru"}, "explanation": few}
    yield "MNIST, row by row", "GRU", read_digits(shared), content


def gaps(shared: Path, rows: int, epochs: int) -> list[dict[str, Any]]:
    """By how much the values of explain.onnx miss the predictions, of each task."""
    told: list[dict[str, Any]] = []
    for task, network, data, content in tasks(shared):
        title = {"task": task, "network": network}
        if data is None:
            told.append(title | {"absent": "the data is not at hand"})
            continue
        with packed(data, content, epochs) as found:
            told.append(title | _gaps(found, rows))
    return told


def _gaps(found: Packed, rows: int) -> dict[str, Any]:
    """Relative to the mean |explained - base| over these rows."""
    explained, base, gap, refined = run(found, rows)
    scale = np.abs(explained - base).mean(axis=0)
    relative = gap / scale
    return {
        "method": found.told.method,
        "rows": len(gap),
        "background": found.told.background,
        "steps": found.told.steps,
        "refined": refined,
        "largest": float(relative.max()),
        "median": float(np.median(relative)),
    }


def run(found: Packed, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Explained, base and gap (N, k) of rows, and the share of rows that took more steps.

    Rows that are not within the tolerance are run again with four times the steps, as served.
    """
    table = found.fitted.examples.table
    feed = found.feed(table.slice(0, rows))
    session, told = found.session(bundle.EXPLAINER), found.told
    at_once = min(_HELD, told.batch_rows)
    outputs = _run(session, feed, at_once)
    limit = told.tolerance * np.asarray(told.scale)
    limit = limit if outputs[-1].shape[1] == len(limit) else limit.max()
    late = np.flatnonzero(~(outputs[-1] <= limit).all(axis=1))
    refined, steps = len(late) / len(outputs[-1]), told.steps
    while len(late) and 0 < steps < _MOST_STEPS:
        steps = min(_FINER * steps, _MOST_STEPS)
        shares = (np.arange(steps, dtype=np.float32) + 0.5) / steps
        some = {name: values[late] for name, values in feed.items()}
        finer = _run(session, some, max(1, at_once * told.steps // steps), shares)
        for output, better in zip(outputs, finer, strict=True):
            output[late] = better
        late = late[~(finer[-1] <= limit).all(axis=1)]
    explained, base, gap = outputs
    return explained, base, gap, refined


def _run(session: Any, feed: Feed, at_once: int, shares: Any = None) -> list[np.ndarray]:
    """`explained`, `base` and `gap` of all rows."""
    names = [each.name for each in session.get_outputs()]
    start = next(i for i, name in enumerate(names) if name.rstrip("_") == "explained")
    more = {} if shares is None else {_SHARES: shares}
    parts = []
    for first in range(0, len(next(iter(feed.values()))), at_once):
        some = {name: values[first : first + at_once] for name, values in feed.items()}
        found = session.run(None, some | more)
        parts.append([found[start], found[start + 2], found[start + 3]])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def agreement(rows: dict[str, int], epochs: int) -> list[dict[str, Any]]:
    """Spearman's correlation with exact Shapley values of ten columns, over 100 background rows.

    Args:
        rows: of each network.
        epochs: of training.
    """
    exactly = {"background": 100, "background_choice": "stratified"}
    told = []
    for name, content in (("MLP 10-256-256", MLP), ("TabM", TABM)):
        with packed(tumours(_COLUMNS), content | {"explanation": exactly}, epochs) as found:
            told.append({"network": name} | _agreement(found, rows[name]))
    return told


def _agreement(found: Packed, count: int) -> dict[str, Any]:
    network = found.attribution.module.get_submodule("network")
    dense = found.dense(found.explained.rows.slice(0, count)).double()

    @torch.no_grad()
    def predict(rows: np.ndarray) -> np.ndarray:
        raw: Tensor = network(torch.from_numpy(rows))
        return raw.numpy()

    beside = found.background.double().numpy()
    exact, _ = exact_values(predict, dense.numpy(), beside, found.weights.numpy())
    given = found.attribution.values(dense)[1].numpy()
    pairs = [
        (given[i, :, k], exact[i, :, k]) for i in range(len(exact)) for k in range(exact.shape[2])
    ]
    ranks = [float(spearmanr(*pair).statistic) for pair in pairs]
    error = np.abs(given - exact).mean() / np.abs(exact).mean()
    return {
        "rows": len(exact),
        "background": len(beside),
        "columns": exact.shape[1],
        "spearman": float(np.mean(ranks)),
        "lowest": float(np.min(ranks)),
        "relative_error": float(error),
    }
