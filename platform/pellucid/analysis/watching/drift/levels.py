"""How certain and how large a difference must be before someone is woken by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pellucid.analysis.watching.signals import SignalKind

EFFECTS: Mapping[SignalKind, float] = {
    "drift": 0.05,  # Kolmogorov-Smirnov of numbers, total variation of strings
    "output": 0.05,  # the same, of what the model answers
    "missing": 0.01,  # difference of shares, as of the next three
    "unseen": 0.01,
    "outside": 0.01,
    "type": 0.01,
    "multivariate": 0.05,  # area under the ROC curve beyond one half
    "sequential": 1.0,  # standard deviations of the stream
}
"""The smallest difference that matters, by kind of signal."""


@dataclass(frozen=True)
class Levels:
    """What an alarm takes: a p-value below a level, and an effect of at least so much.

    The levels make a false alarm happen in at most `alpha` of all years in which nothing changes.
    Every window gets the same part of it, alpha / windows_per_year: the chance of any false alarm
    in a year is at most the sum over its windows. That holds whatever the windows share, such as
    the one reference that they are all compared to. Within a window Benjamini and Hochberg's
    procedure shares the part out among the columns.

    The minimum effect makes alarms rarer still, and is why a window of a million rows does not
    alarm at what nobody would call a change.

    Attributes:
        alpha: 0 to 1.
        windows_per_year: how many windows are judged: 365 of days, 8,760 of hours. Of windows of
            several lengths, the sum.
        effects: the smallest difference that matters, by kind; what is not named is as in EFFECTS.
        confidence: one minus how often "ok" may be said of a difference that does matter.
    """

    alpha: float = 0.05
    windows_per_year: float = 365.0
    effects: Mapping[SignalKind, float] = field(default_factory=dict)
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0.5 < self.confidence < 1:
            raise ValueError(f"alpha {self.alpha} and confidence {self.confidence}: not in (0, 1)")
        if not self.windows_per_year > 0:
            raise ValueError(f"{self.windows_per_year} windows a year: at least a part of one")
        if bad := {kind: each for kind, each in self.effects.items() if not each >= 0}:
            raise ValueError(f"smallest effects below zero: {bad}")

    @property
    def window(self) -> float:
        """The chance of a false alarm in one window."""
        return self.alpha / self.windows_per_year

    @property
    def columns(self) -> float:
        """Of it, the part of columns one by one; they alone see most of what happens."""
        return 0.8 * self.window

    @property
    def rows(self) -> float:
        """Of it, the part of columns together."""
        return 0.05 * self.window

    @property
    def contents(self) -> float:
        """Of it, the part of what images, texts and other columns without bins hold."""
        return 0.05 * self.window

    @property
    def streams(self) -> float:
        """Of it, the part of sequential detectors."""
        return 0.1 * self.window

    def smallest(self, kind: SignalKind) -> float:
        """The smallest difference of this kind that matters."""
        return self.effects.get(kind, EFFECTS.get(kind, 0.0))
