"""What a version's label may be: one of its classes, a number, or a number for each step."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.bundle import Manifest

_LONGEST = 2**16  # characters of a label
_SHOWN = 20
_BOOLEANS = ("false", "true")


@dataclass(frozen=True)
class Truth:
    """The target of one version.

    Labels travel as text: a class by its name, a number in decimals, a forecast as a JSON list.

    Attributes:
        task: classification, regression, or other: made elsewhere, where any text is a label.
        classes: of a classification, in the order of its probabilities.
        steps: numbers of a forecast; 0 is a single number.
    """

    task: Literal["classification", "regression", "other"]
    classes: tuple[int | str, ...] = ()
    steps: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> "Truth":
        """The target that a manifest tells of."""
        shapes = {output.name: output.shape for output in manifest.outputs}
        value = shapes.get("value", (-1,))
        return cls(manifest.task, manifest.classes, value[1] if len(value) > 1 else 0)

    @property
    def wanted(self) -> str:
        """What a label should be, for an error."""
        if self.task == "classification":
            names = ", ".join(str(each) for each in self.classes[:_SHOWN])
            more = len(self.classes) - _SHOWN
            return f"one of the classes {names}" + (f" and {more} more" if more > 0 else "")
        return f"a list of {self.steps} numbers" if self.steps else "a finite number"

    def canonical(self, text: str) -> str | None:
        """The one way to write a label; None where it is none of this target's."""
        if self.task == "other":
            return text if len(text) <= _LONGEST else None
        if self.task == "classification":
            return self._class(text)
        numbers = self._numbers(text)
        if numbers is None:
            return None
        return json.dumps(numbers) if self.steps else repr(numbers[0])

    def value(self, text: str) -> float | list[float] | None:
        """What a label is in arrays: the class's index, a number, or a list of them."""
        if self.task == "classification":
            name = self._class(text)
            return None if name is None else self._index[name]
        numbers = self._numbers(text) if self.task == "regression" else None
        return numbers if numbers is None or self.steps else numbers[0]

    def values(self, texts: list[str | None]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Labels as an array.

        Args:
            texts: N labels; None where there is none.

        Returns:
            (N,), or (N, steps), NaN where there is no label of this target; and (N,) where there
            is one.
        """
        read = {text: self.value(text) for text in set(texts) if text is not None}
        absent: float | list[float] = [math.nan] * self.steps if self.steps else math.nan
        found = [read.get(text) if text is not None else None for text in texts]
        known = np.array([each is not None for each in found], bool)
        shape = (len(texts), self.steps) if self.steps else (len(texts),)
        rows = [absent if each is None else each for each in found]
        return np.array(rows, np.float64).reshape(shape), known

    @cached_property
    def _index(self) -> dict[str, int]:
        return {str(each): place for place, each in enumerate(self.classes)}

    def _class(self, text: str) -> str | None:
        if text in self._index:
            return text
        plain = text.strip()
        lower = plain.lower()
        for other in (plain, _whole(plain), lower if lower in _BOOLEANS else plain):
            if other in self._index:
                return other
        return None

    def _numbers(self, text: str) -> list[float] | None:
        if len(text) > _LONGEST or "_" in text:  # Python reads 1_000
            return None
        try:
            read = json.loads(text) if self.steps else [text]
            numbers = [float(each) for each in read if not isinstance(each, bool)]
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        fits = len(numbers) == len(read) == (self.steps or 1)
        return numbers if fits and all(map(math.isfinite, numbers)) else None


def _whole(text: str) -> str:
    """A whole number as integers are written: 1.0 comes of a column with gaps."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and "_" not in text else text
