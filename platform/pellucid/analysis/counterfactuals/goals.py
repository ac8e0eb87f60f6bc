"""What a counterfactual has to bring about, and how far a prediction is from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]

_LEAST = 1e-38  # a probability of 0 has a logarithm all the same
# A met goal is met by this much, so that it is by the same model on another device too.
_SLACK_ODDS = 1e-4  # log-odds
_SLACK_VALUE = 1e-5  # of the goal's bounds


class Goal(Protocol):
    """A decision that is asked for."""

    def margin(self, outputs: Outputs) -> NDArray[np.float64]:
        """(rows,) how far beyond the goal each row is; from 0 on it is met with some to spare."""
        ...

    def met(self, outputs: Outputs) -> NDArray[np.bool_]:
        """(rows,) whether it is met, if only just."""
        ...


@dataclass(frozen=True)
class ClassGoal:
    """One of some classes is predicted, or is given a probability of at least so much.

    Margins are log-odds: of the likeliest wanted class to the likeliest other, or beyond those of
    the probability that is asked for.

    Args:
        wanted: indices of the classes that are wanted; not all.
        probability: that one of them must reach; None: it is the predicted one.
    """

    wanted: Sequence[int]
    probability: float | None = None

    def margin(self, outputs: Outputs) -> NDArray[np.float64]:
        """(rows,) of outputs with `probabilities` (rows, classes)."""
        best, other = self._likeliest(outputs)
        if self.probability is None:
            return _log(best) - _log(other) - _SLACK_ODDS
        asked = np.array([self.probability])
        return _log(best) - _log(1 - best) - _log(asked) + _log(1 - asked) - _SLACK_ODDS

    def met(self, outputs: Outputs) -> NDArray[np.bool_]:
        """(rows,) of outputs with `probabilities` (rows, classes)."""
        if self.probability is None:
            return np.isin(outputs["probabilities"].argmax(axis=1), list(self.wanted))
        best, _ = self._likeliest(outputs)
        return best >= self.probability

    def _likeliest(self, outputs: Outputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(rows,) the probabilities of the likeliest wanted class and of the likeliest other."""
        shares = outputs["probabilities"].astype(np.float64)
        wanted = np.zeros(shares.shape[1], dtype=bool)
        wanted[list(self.wanted)] = True
        return shares[:, wanted].max(axis=1), shares[:, ~wanted].max(axis=1)


@dataclass(frozen=True)
class RangeGoal:
    """A value of at least `low` and at most `high`, in the target's own units."""

    low: float = -np.inf
    high: float = np.inf

    def margin(self, outputs: Outputs) -> NDArray[np.float64]:
        """(rows,) of outputs with `value` (rows,), in the target's units."""
        value = outputs["value"].astype(np.float64)
        bounds = [abs(each) for each in (self.low, self.high) if np.isfinite(each)]
        slack = min(_SLACK_VALUE * max(bounds, default=0.0), (self.high - self.low) / 4)
        return np.minimum(value - self.low, self.high - value) - slack

    def met(self, outputs: Outputs) -> NDArray[np.bool_]:
        """(rows,) of outputs with `value` (rows,)."""
        value = outputs["value"]
        return (value >= self.low) & (value <= self.high)


def _log(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(shares, _LEAST))
    return found
