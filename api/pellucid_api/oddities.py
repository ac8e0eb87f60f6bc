"""Odd values, counted as rows are answered: missing, unseen, beyond the range, of another type.

The monitor says of each window which columns changed, and whether that is certain. This says within
seconds that something upstream broke: how many values are odd, of all columns together, and how
many would be in as many training rows. Rows are counted a thousand at a time, since counting a
column takes 30 us however few they are.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic

import pyarrow as pa
from prometheus_client.core import CounterMetricFamily, Metric

from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid_api.engine.served import Served
from pellucid_api.processes.counts import Done

KINDS = ("missing", "unseen", "outside", "type")
_ROWS = 1024  # counted at once,
_SECONDS = 5.0  # or what came in the meantime

logger = logging.getLogger(__name__)


class Live:
    """The newest rows of one version.

    Args:
        reference: of training.
        names: the inputs that are counted; others are left out.

    Attributes:
        rows: that wait to be counted.
        columns: how many are counted.
    """

    def __init__(self, reference: Profile, names: Sequence[str]) -> None:
        bins = {name: reference.bins[name] for name in names if name in reference.bins}
        self._bins: Mapping[str, Bins] = bins
        trained = Profile(bins, {name: reference.tallies[name] for name in bins}, reference.rows)
        self._shares = {kind: n / max(trained.rows, 1) for kind, n in odd(trained).items()}
        self._waiting: list[pa.StructArray] = []
        self._since = 0.0
        self.rows, self.columns = 0, len(bins)

    @classmethod
    def of(cls, served: Served) -> "Live | None":
        """None of versions without a profile, or without columns of numbers and strings."""
        try:
            reference = ReferenceProfile.find(served.model.bundle.root)
        except InvalidData as error:
            logger.warning("%s version %d: %s", served.name, served.version, error)
            return None
        names = [each.name for each in served.model.manifest.inputs if each.scalar]
        found = cls(reference.inputs, names) if reference else None
        return found if found and found.columns else None

    @property
    def due(self) -> bool:
        """Whether what waits is enough, or has waited long enough."""
        return self.rows >= _ROWS or (self.rows > 0 and monotonic() - self._since > _SECONDS)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows in, as the log has them."""
        if not self.rows:
            self._since = monotonic()
        self._waiting.append(batch.column("inputs"))
        self.rows += len(batch)

    def settle(self) -> Profile:
        """The rows that wait, as a profile; none wait then."""
        waiting, rows = self._waiting, self.rows
        self._waiting, self.rows = [], 0
        columns = pa.RecordBatch.from_struct_array(pa.concat_arrays(waiting))
        return count(dict(zip(columns.schema.names, columns, strict=True)), self._bins, rows=rows)

    def expected(self, rows: int) -> dict[str, float]:
        """Odd values by kind in as many training rows."""
        return {kind: share * rows for kind, share in self._shares.items()}


class Oddities:
    """Counts of all versions; for one thread, while others read.

    Attributes:
        values: (model, version) -> values that were counted.
        odd: (model, version, kind) -> of them, how many are odd.
        expected: (model, version, kind) -> how many would be in training rows.
    """

    def __init__(self) -> None:
        self.values: Counter[tuple[str, int]] = Counter()
        self.odd: Counter[tuple[str, int, str]] = Counter()
        self.expected: dict[tuple[str, int, str], float] = {}
        self._waiting: dict[tuple[str, int], Live] = {}

    def add(self, served: Served, batch: pa.RecordBatch) -> None:
        """Take rows in."""
        live = served.kept(Live, Live.of)
        if live is None or "inputs" not in batch.schema.names:
            return
        key = served.name, served.version
        if self._waiting.get(key, live) is not live:  # a version that was deleted and made again
            self._settle(key)
        self._waiting[key] = live
        live.add(batch)
        if live.due:
            self._settle(key)

    def settle(self) -> None:
        """Count what has waited for some seconds."""
        for key in [key for key, live in self._waiting.items() if live.due]:
            self._settle(key)

    def _settle(self, key: tuple[str, int]) -> None:
        live = self._waiting.pop(key)
        try:
            profile = live.settle()
        except Exception:  # whatever it is, rows are recorded none the less
            logger.exception("values of %s version %d cannot be counted", *key)
            return
        self.values[key] += profile.rows * live.columns
        for kind, number in odd(profile).items():
            self.odd[*key, kind] += number
        for kind, share in live.expected(profile.rows).items():
            self.expected[*key, kind] = self.expected.get((*key, kind), 0.0) + share


def odd(profile: Profile) -> dict[str, int]:
    """How many values of all columns are odd, by kind."""
    found = dict.fromkeys(KINDS, 0)
    for name, tally in profile.tallies.items():
        for kind, number in _odd(profile.bins[name], tally).items():
            found[kind] += number
    return found


def _odd(bins: Bins, tally: Tally) -> dict[str, int]:
    beyond = "outside" if bins.kind == "number" else "unseen"
    return {"missing": tally.missing, beyond: tally.outside, "type": tally.wrong}


def families(done: Done) -> Iterator[Metric]:
    """The metrics. Columns are no labels: a model may have thousands."""
    labels = ["model", "version"]
    values = CounterMetricFamily(
        "pellucid_input_values", "Values of inputs in recorded rows, of all columns.", labels=labels
    )
    for (name, number), many in sorted(done.values.items()):
        values.add_metric([name, str(number)], many)
    yield values
    odd_ones = CounterMetricFamily(
        "pellucid_odd_input_values",
        "Of them, those that are missing, unseen (a string that training never saw), outside "
        "(beyond its range) or of another type.",
        labels=[*labels, "kind"],
    )
    expected = CounterMetricFamily(
        "pellucid_expected_odd_input_values",
        "How many there would be in as many training rows.",
        labels=[*labels, "kind"],
    )
    for (name, number, kind), many in sorted(done.odd_values.items()):
        odd_ones.add_metric([name, str(number), kind], many)
        wanted = done.expected_values.get((name, number, kind), 0.0)
        expected.add_metric([name, str(number), kind], wanted)
    yield from (odd_ones, expected)
