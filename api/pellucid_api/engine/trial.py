"""Competitors of a champion, and what their competition has shown so far."""

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from pellucid.bundle import Manifest
from pellucid.tracking.contract import CHALLENGER
from pellucid_api.engine.statistics import Counts, Histogram, Statistics
from pellucid_api.engine.values import Values

if TYPE_CHECKING:
    from pellucid_api.engine.served import Served

_NUMBERS = "biuf"  # NumPy's kinds of arrays
_KEYS = 2.0**53  # as many places as a float tells apart


@dataclass(slots=True)
class Agreement:
    """How alike the outputs of two versions are, over the same rows.

    Numbers are compared as they are, except for probabilities, which are matched by class.
    """

    rows: int = 0
    labelled: int = 0  # rows with a label from both
    equal: int = 0  # of those, rows with equal labels
    numbers: int = 0
    differences: float = 0.0  # the sum of the absolute ones
    largest: float = 0.0
    incomparable: int = 0  # rows whose outputs have nothing in common

    def add(
        self,
        manifests: tuple[Manifest, Manifest],
        outputs: tuple[Sequence[Values], Sequence[Values]],
    ) -> None:
        """Compare the outputs of some rows: the champion's, then the contender's."""
        ours, theirs = (_named(m, o) for m, o in zip(manifests, outputs, strict=True))
        rows = len(outputs[0][0])
        self.rows += rows
        compared = False
        for name in ours.keys() & theirs.keys():
            a, b = ours[name], theirs[name]
            if a.shape != b.shape:
                continue
            if name == "label":
                self.labelled += rows
                self.equal += int(np.count_nonzero(a == b))
            elif a.dtype.kind in _NUMBERS and b.dtype.kind in _NUMBERS:
                self._differ(a.astype(np.float64), b.astype(np.float64))
            else:
                continue
            compared = True
        self.incomparable += 0 if compared else rows

    def __add__(self, other: "Agreement") -> "Agreement":
        found = Agreement(largest=max(self.largest, other.largest))
        for name in self.__dataclass_fields__.keys() - {"largest"}:
            setattr(found, name, getattr(self, name) + getattr(other, name))
        return found

    @property
    def label_share(self) -> float | None:
        """The share of rows with equal labels: 1 is full agreement. None without labels."""
        return self.equal / self.labelled if self.labelled else None

    @property
    def mean_difference(self) -> float | None:
        """The mean absolute difference of the numbers: 0 is full agreement. None without any."""
        return self.differences / self.numbers if self.numbers else None

    def _differ(self, a: Values, b: Values) -> None:
        with np.errstate(invalid="ignore"):  # of infinities
            difference = np.abs(a - b)
        difference = difference[np.isfinite(difference)]
        if difference.size:
            self.numbers += difference.size
            self.differences += float(difference.sum())
            self.largest = max(self.largest, float(difference.max()))


@dataclass(slots=True)
class Findings:
    """What a comparison has shown so far: plain numbers, which add up over processes."""

    since: datetime
    champion: Statistics
    contender: Statistics
    fallbacks: int
    copied: int
    failed: int
    dropped: int
    agreement: Agreement
    latency: Histogram

    def __add__(self, other: "Findings") -> "Findings":
        names = self.__dataclass_fields__.keys() - {"since"}
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Findings(since=min(self.since, other.since), **sums)


@dataclass(eq=False)
class Comparison:
    """A champion against one contender, since they first met in this process."""

    role: str
    champion: "Served"
    contender: "Served"
    share: float
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    fallbacks: int = 0  # requests that the challenger failed and the champion answered
    copied: int = 0  # requests whose copy was compared
    failed: int = 0  # copies that were refused or failed
    dropped: int = 0  # copies given up, since real requests were waiting
    agreement: Agreement = field(default_factory=Agreement)
    latency: Histogram = field(default_factory=Histogram)  # of copies: decoded, queued and run

    def __post_init__(self) -> None:
        self._before = [copy.deepcopy(s.statistics) for s in (self.champion, self.contender)]

    def findings(self) -> Findings:
        """What this has shown; the statistics are since it began."""
        now = (self.champion.statistics, self.contender.statistics)
        champion, contender = (
            _less(after, before) for after, before in zip(now, self._before, strict=True)
        )
        counted = (self.fallbacks, self.copied, self.failed, self.dropped)
        return Findings(self.since, champion, contender, *counted, self.agreement, self.latency)

    def compare(self, champion: Sequence[Values], contender: Sequence[Values]) -> None:
        """Take in the outputs of both for the same rows."""
        manifests = self.champion.model.manifest, self.contender.model.manifest
        self.agreement.add(manifests, (champion, contender))


@dataclass(frozen=True)
class Trial:
    """Who competes with the champion that holds this. At least one does."""

    challenger: Comparison | None = None
    shadow: Comparison | None = None

    def of(self, role: str) -> Comparison | None:
        """The comparison with the contender of a role."""
        return self.challenger if role == CHALLENGER else self.shadow

    @property
    def contenders(self) -> "tuple[Served, ...]":
        """Those that compete with the champion."""
        return tuple(each.contender for each in (self.challenger, self.shadow) if each)

    def picked(self, key: bytes) -> Comparison | None:
        """The challenger, if the request is one of its share."""
        found = self.challenger
        if found is None:
            return None
        place = place_of(key, found.champion.name) if key else random.random()
        return found if place < found.share else None

    def watched(self) -> Comparison | None:
        """The shadow, if the request is one of those that it sees."""
        found = self.shadow
        return found if found and random.random() < found.share else None


def place_of(key: bytes, name: str) -> float:
    """Where a routing key stands in [0, 1), the same in every process, uniform over keys.

    A key below the challenger's share goes to the challenger: a share that grows takes no key away.
    """
    digest = blake2b(key, digest_size=8, salt=blake2b(name.encode(), digest_size=16).digest())
    return (int.from_bytes(digest.digest()) >> 11) / _KEYS


def _named(manifest: Manifest, outputs: Sequence[Values]) -> Mapping[str, Values]:
    named = dict(zip([output.name for output in manifest.outputs], outputs, strict=True))
    if manifest.classes and "probabilities" in named:
        probabilities = named.pop("probabilities")
        for index, name in enumerate(manifest.classes):
            named[f"probability of {name}"] = probabilities[:, index]
    return named


def _less(after: Statistics, before: Statistics) -> Statistics:
    """Field by field, of predictions alone."""
    found = Statistics()
    for name in Counts.__dataclass_fields__:
        now, then = getattr(after, name), getattr(before, name)
        if isinstance(now, Histogram):
            counts = [n - t for n, t in zip(now.counts, then.counts, strict=True)]
            setattr(found, name, Histogram(counts, now.total - then.total))
        else:
            setattr(found, name, now - then)
    return found
