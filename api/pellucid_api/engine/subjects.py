"""Which of a model's outputs is explained, and against what.

Shapley values are linear in what they explain: those of a difference of two outputs are the
difference of theirs, and so are those of one row's output less another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from pellucid.bundle import Manifest
from pellucid.errors import InvalidInput
from pellucid_api.engine.attribution import Attributed
from pellucid_api.engine.values import Values, shown


class Amounts(NamedTuple):
    """Of n rows: base + sum of shap is value, but for the gap.

    value, base: (n,). shap: (n, columns). places: (n, *places), or None.
    """

    value: Values
    base: Values
    shap: Values
    places: Values | None

    def less(self, other: "Amounts") -> "Amounts":
        """From the other rows' values to these: their base is the others' value."""
        places = None
        if self.places is not None and other.places is not None:
            places = self.places - other.places
        return Amounts(self.value, other.value, self.shap - other.shap, places)

    @property
    def gap(self) -> Values:
        """(n,)."""
        found: Values = abs(self.base + self.shap.sum(axis=1) - self.value)
        return found


@dataclass(frozen=True)
class Subject:
    """What is explained of every row.

    The score of a class is its log-odds where there are two, and else its score before softmax, so
    that the difference of two classes' scores is the logarithm of their ratio in both cases.

    Args:
        names: classes, or the outputs of a regression.
        positive: of two classes the number of the one whose log-odds the graph explains; None
            where every name has an output.
        output: number of what is explained; None: the predicted class, of each row.
        contrast: number of what is subtracted; None: nothing.
    """

    names: tuple[str, ...]
    positive: int | None
    output: int | None
    contrast: int | None

    @classmethod
    def of(cls, manifest: Manifest, output: str | None, contrast: str | None) -> Self:
        """What is asked for, by names.

        Raises:
            InvalidInput: the model has none of that name.
        """
        told = manifest.explanation
        assert told is not None, "only what is explained has a subject"
        classes = tuple(map(str, manifest.classes))
        names, positive = classes or told.outputs, None
        if classes and len(told.outputs) == 1:
            positive = classes.index(told.outputs[0])
        if contrast is not None and len(names) == 1:
            raise InvalidInput(
                "The model has one output, and nothing to contrast it with.",
                where={"query": "contrast"},
                remedy='Send a row to compare to: {"rows": [...], "reference": {...}}.',
            )
        asked = _number(names, output, "class")
        against = _number(names, contrast, "contrast")
        if asked is None and against is None:  # explained one and the same of every row
            asked = positive if classes else 0
        if asked is None and not classes:
            asked = 0
        return cls(names, positive, asked, against)

    def explained(self, manifest: Manifest, predictions: Sequence[Values]) -> Values:
        """(n,): the number of what is explained of each row."""
        rows = len(predictions[0])
        if self.output is not None:
            return np.full(rows, self.output)
        position = [output.name for output in manifest.outputs].index("label")
        numbers = {name: i for i, name in enumerate(self.names)}
        return np.array([numbers[str(label)] for label in predictions[position].tolist()], int)

    def chosen(self, number: int | None) -> int:
        """What a graph that explains one output is told to explain; -1 is the predicted one."""
        if self.positive is not None:
            return 0
        return -1 if number is None else number

    @property
    def pairs(self) -> bool:
        """Whether a graph that explains one output must run for two."""
        return self.contrast is not None and self.positive is None

    def weights(self, explained: Values, outputs: int) -> Values:
        """(n, outputs): how often each output of the graph counts."""
        against = self.contrast
        if self.positive is not None:
            sign = np.where(explained == self.positive, 1.0, -1.0)
            return (sign if against is None else sign * (explained != against))[:, None]
        if outputs == 1:
            return np.ones((len(explained), 1))
        found = np.eye(outputs)[explained]
        if against is not None:
            found[:, against] -= 1
        return found

    def scaled(self, explained: Values) -> tuple[Values, Values]:
        """The outputs of the graph whose scales the gaps are measured by; the larger one counts."""
        if self.positive is not None:
            zeros = np.zeros(len(explained), int)
            return zeros, zeros
        against = explained if self.contrast is None else np.full(len(explained), self.contrast)
        return explained, against


def amounts(found: Attributed, weights: Values) -> Amounts:
    """A weighted sum over the outputs; one row stands for as many as there are weights.

    Args:
        found: of n rows, or of one.
        weights: (n, outputs).
    """
    places = None
    if found.places is not None:
        shape = (len(weights), *(1,) * (found.places.ndim - 2), weights.shape[1])
        places = (found.places * weights.reshape(shape)).sum(axis=-1)
    return Amounts(
        (found.explained * weights).sum(axis=1),
        (found.base * weights).sum(axis=1),
        (found.shap * weights[:, None, :]).sum(axis=2),
        places,
    )


def less(found: Attributed, other: Attributed) -> Attributed:
    """Of the same rows, one output less another; gaps add up."""
    places = None
    if found.places is not None and other.places is not None:
        places = found.places - other.places
    return Attributed(
        found.predictions,
        found.explained - other.explained,
        found.shap - other.shap,
        found.base - other.base,
        found.gap + other.gap,
        places,
    )


def _number(names: Sequence[str], name: str | None, parameter: str) -> int | None:
    if name is None:
        return None
    if name in names:
        return names.index(name)
    raise InvalidInput(
        f"The model has no output {shown(name)}.",
        where={"query": parameter},
        remedy=f"It has these: {', '.join(map(repr, names[:20]))}.",
    )
