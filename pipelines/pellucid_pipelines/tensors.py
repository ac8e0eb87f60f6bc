"""Targets and weights: what a loss compares to, and how much each row counts in it."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from pellucid.errors import InvalidData, InvalidPlan

Link = Literal["identity", "sigmoid", "softmax"]
"""What maps raw outputs to predictions."""


@dataclass(frozen=True)
class Target:
    """What is predicted, fitted on the training rows.

    `classes` are sorted: integers for an integer column, "false" and "true" for a boolean one,
    else strings. The network has one output for two classes (the logit of the positive one) and
    for regression (the value, standardised), else one output per class. A target of lists, all of
    one length, is a forecast: an output per step, all of one scale.
    """

    name: str
    task: Literal["classification", "regression"]
    values: tuple[Any, ...] = ()  # as they stand in the column, in the order of `classes`
    classes: tuple[int | str, ...] = ()
    positive: int | None = None
    mean: float = 0.0
    deviation: float = 1.0
    steps: int = 0  # of a list; 0: a number

    @classmethod
    def fit(
        cls,
        column: pa.ChunkedArray,
        name: str,
        task: Literal["classification", "regression"],
        positive_class: str | None,
    ) -> Self:
        """Learn the classes, or the mean and deviation.

        Raises:
            InvalidData: a value is missing or not finite, or all of them are the same.
            InvalidPlan: `positive_class` is not one of two classes.
        """
        _require_complete(column, name)
        if task == "regression":
            numbers = _lists(column, name) if _is_list(column) else _numbers(column, name)
            mean, deviation = float(numbers.mean()), float(numbers.std())
            if deviation <= 1e-12 * abs(mean):
                raise _constant(name, mean)
            steps = numbers.shape[1] if numbers.ndim == 2 else 0
            return cls(name, task, mean=mean, deviation=deviation, steps=steps)
        values = tuple(sorted(pc.unique(column).to_pylist()))
        if len(values) < 2:
            raise _constant(name, values[0])
        classes = tuple(_label(value) for value in values)
        return cls(name, task, values, classes, _positive(classes, positive_class))

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        if self.steps:
            return self.steps
        return 1 if self.positive is not None or not self.classes else len(self.classes)

    @property
    def link(self) -> Link:
        """What maps the network's raw outputs to predictions."""
        if self.task == "regression":
            return "identity"
        return "softmax" if self.positive is None else "sigmoid"

    def truth(self, column: pa.ChunkedArray) -> np.ndarray:
        """(N,) class indices as int64, or values in the target's own units as float64.

        Values of a forecast are (N, steps).

        Raises:
            InvalidData: a value is missing, a list is of another length, or a class is one that no
                training row has.
        """
        _require_complete(column, self.name)
        if self.steps:
            return _lists(column, self.name, self.steps)
        if self.task == "regression":
            return _numbers(column, self.name)
        indices = pc.index_in(column, value_set=pa.array(self.values, column.type))
        if indices.null_count:
            unseen = column.filter(pc.is_null(indices))
            raise InvalidData(
                f"{len(unseen)} rows held out from training have a class that no training row "
                f"has, such as {unseen[0].as_py()!r}.",
                where={"column": self.name},
                remedy="Use another split, add rows of that class, or take it out.",
            )
        return np.asarray(indices.to_numpy(), dtype=np.int64)

    def encode(self, column: pa.ChunkedArray) -> Tensor:
        """What the loss compares to, (N,), or (N, steps) of a forecast.

        Two classes: float32, 1 is the positive one. More: int64 class indices. Regression:
        float32, standardised. Raises like `truth`.
        """
        truth = self.truth(column)
        if self.task == "regression":
            return torch.from_numpy(((truth - self.mean) / self.deviation).astype(np.float32))
        if self.positive is not None:
            return torch.from_numpy((truth == self.positive).astype(np.float32))
        return torch.from_numpy(truth)

    def head(self) -> nn.Module:
        """Raw outputs (N, outputs) -> probabilities (N, K) in class order, or values (N,).

        Values of a forecast are (N, steps).
        """
        if self.task == "regression":
            return _Unscale(self.mean, self.deviation, single=not self.steps)
        return _Softmax() if self.positive is None else _Sigmoid(self.positive)


class _Sigmoid(nn.Module):
    """(N, 1) logit of the positive class -> (N, 2) probabilities in class order."""

    def __init__(self, positive: int) -> None:
        super().__init__()
        signs = torch.tensor([-1.0, 1.0] if positive == 1 else [1.0, -1.0])
        self.register_buffer("signs", signs)

    def forward(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw * self.get_buffer("signs"))


class _Softmax(nn.Module):
    """(N, K) logits -> (N, K) probabilities."""

    def forward(self, raw: Tensor) -> Tensor:
        return torch.softmax(raw, dim=1)


class _Unscale(nn.Module):
    """(N, steps) standardised -> (N, steps), or (N,) of a `single` one, in the target's units."""

    def __init__(self, mean: float, deviation: float, single: bool = True) -> None:
        super().__init__()
        self.mean, self.deviation, self.single = mean, deviation, single

    def forward(self, raw: Tensor) -> Tensor:
        if self.single:
            raw = raw.squeeze(1)
        return raw * self.deviation + self.mean


def row_weights(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """(N,) weights as they stand in a column.

    Raises:
        InvalidData: a weight is missing, negative or not finite, or all are 0.
    """
    _require_complete(column, name)
    weights = _numbers(column, name)
    bad = np.flatnonzero(weights < 0)
    if len(bad):
        raise InvalidData(f"A weight is negative: {weights[bad[0]]}.", where={"column": name})
    if not weights.any():
        raise InvalidData("Every weight is 0.", where={"column": name})
    return weights


def loss_weights(
    targets: Tensor, weights: np.ndarray | None, class_factors: Tensor | None
) -> Tensor | None:
    """(N,) weights in the loss, of mean 1; None where every row counts the same.

    `class_factors` (K,) multiplies the weight of each row by its class's factor.
    """
    if weights is None and class_factors is None:
        return None
    total = torch.ones(len(targets)) if weights is None else torch.from_numpy(weights).float()
    if class_factors is not None:
        total = total * class_factors[targets.long()]
    return total / total.mean()


def balanced(targets: Tensor) -> Tensor:
    """(K,) N / (K n_k): each class weighs the same in total (King and Zeng, 2001)."""
    counts = torch.bincount(targets.long()).float()
    return len(targets) / (len(counts) * counts)


def seed_of(purpose: str, seed: int, epoch: int = 0) -> int:
    """A seed of 63 bits for one purpose and epoch, unrelated to that of any other."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def _require_complete(column: pa.ChunkedArray, name: str) -> None:
    if len(column) == 0:
        raise InvalidData("There are no rows.", where={"column": name})
    if column.null_count:
        raise InvalidData(
            f"{column.null_count} of {len(column)} values are missing.",
            where={"column": name},
            remedy="Fill them in, or take these rows out.",
        )


def _numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    numbers: np.ndarray = column.cast(pa.float64()).to_numpy()
    if not np.isfinite(numbers).all():
        raise InvalidData(
            "A value is infinite or not a number.",
            where={"column": name},
            remedy="Fill it in, or take the row out.",
        )
    return numbers


def _is_list(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type))


def _lists(column: pa.ChunkedArray, name: str, steps: int | None = None) -> np.ndarray:
    """(N, steps) of lists that are all as long as the first one, or as `steps`."""
    lengths = pc.list_value_length(column).to_numpy()
    steps = int(lengths[0]) if steps is None else steps
    unequal = np.flatnonzero(lengths != steps)
    if len(unequal) or not steps:
        found = f"has {lengths[unequal[0]]} values, not {steps}" if len(unequal) else "is empty"
        raise InvalidData(
            f"A list of the target {found}.",
            where={"column": name},
            remedy="Give every row as many values to forecast.",
        )
    values = pc.list_flatten(column)
    _require_complete(values, name)
    return _numbers(values, name).reshape(-1, steps)


def _label(value: Any) -> int | str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int) else str(value)


def _positive(classes: tuple[int | str, ...], named: str | None) -> int | None:
    labels = [str(label) for label in classes]
    if named is not None and (len(labels) != 2 or named not in labels):
        raise InvalidPlan(
            f"positive_class {named!r} is not one of two classes.",
            where={"path": "positive_class"},
            remedy=f"The classes are: {', '.join(labels[:20])}.",
        )
    if len(labels) != 2:
        return None
    return 1 if named is None else labels.index(named)


def _constant(name: str, value: Any) -> InvalidData:
    return InvalidData(
        f"The target has one value only, {value!r}, in the training rows.",
        where={"column": name},
        remedy="There is nothing to learn: choose another target, or add rows.",
    )
