"""Which explained rows are shown one by one: right predictions and wrong ones."""

from dataclasses import dataclass

import numpy as np

from pellucid_pipelines.drawing import plain
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.tensors import Target


@dataclass(frozen=True)
class Shown:
    """A row of the explained ones; `right` is None where the truth is not known."""

    row: int
    title: str
    right: bool | None = None


def first(explained: Explained, count: int) -> list[Shown]:
    """The first rows, by the output that their places are explained for."""
    assert explained.places is not None, "there are values of places"
    outputs = explained.places.outputs[:count].tolist()
    return [
        Shown(row, f"{plain(explained.outputs[k])}: {explained.prediction[row, k]:.3g}")
        for row, k in enumerate(outputs)
    ]


def right_and_wrong(
    explained: Explained, truth: np.ndarray, target: Target, count: int
) -> list[Shown]:
    """At most `count` rows: first right ones, a class after the other, then as many wrong ones.

    Of either kind the most certain ones. Of a regression those with the smallest and the largest
    errors.

    Args:
        explained: N rows.
        truth: (N,) class indices or values, (N, steps) of a forecast.
        target: what is predicted.
        count: how many.
    """
    raw = explained.prediction
    if target.task == "regression":
        error = np.abs(raw - truth.reshape(raw.shape)).mean(axis=1)
        order = np.argsort(error, kind="stable")
        half = min(count, len(order)) // 2
        best, worst = order[: min(count, len(order)) - half], order[::-1][:half]
        said = [
            f"{raw[i, 0]:.3g}, truth {truth.reshape(raw.shape)[i, 0]:.3g}" for i in range(len(raw))
        ]
        return [Shown(i, said[i], True) for i in best.tolist()] + [
            Shown(i, said[i], False) for i in worst.tolist()
        ]
    label, certainty = _predicted(raw, target)
    order = np.argsort(-certainty, kind="stable")
    wrong = order[label[order] != truth[order]]
    right = _in_turn(order[label[order] == truth[order]], truth)
    some = max(count - count // 2, count - len(wrong))
    names = [plain(name) for name in target.classes]
    return [Shown(i, names[label[i]], True) for i in right[:some]] + [
        Shown(i, f"{names[label[i]]}, truth {names[truth[i]]}", False)
        for i in wrong[: count - min(some, len(right))].tolist()
    ]


def _predicted(raw: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the predicted class, and by how much it leads."""
    if target.positive is not None:
        label = np.where(raw[:, 0] > 0, target.positive, 1 - target.positive)
        return label, np.abs(raw[:, 0])
    best = np.sort(raw, axis=1)
    return raw.argmax(axis=1), best[:, -1] - best[:, -2]


def _in_turn(rows: np.ndarray, truth: np.ndarray) -> list[int]:
    """Rows, reordered: the first of each class, then the second of each, and so on."""
    seen: dict[int, int] = {}
    place = []
    for row in rows.tolist():
        seen[int(truth[row])] = seen.get(int(truth[row]), 0) + 1
        place.append(seen[int(truth[row])])
    return [row for _, row in sorted(zip(place, rows.tolist(), strict=True), key=lambda p: p[0])]
