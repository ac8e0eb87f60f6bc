"""Taking labels in: each has one of six answers, and none is lost.

| label | answer |
|---|---|
| new, of a prediction in the log | accepted |
| the same as the one known | repeated: not stored again |
| another than the one known | conflicting: stored with its time, and it counts from now on |
| of an id that is not in the log | pending: stored, and joined as soon as the prediction is there |
| of a prediction older than predictions are kept | late: not stored, as nothing can join it |
| no class or number of the model's, or no id | refused: told by row |

Several labels of one id in a request are taken one after the other, as they stand.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.errors import InvalidRows, NotFound, TooLarge
from pellucid.monitoring import ids
from pellucid.monitoring.feedback.labels import Labels, LabelWriter
from pellucid.monitoring.feedback.matching import Origins, Wanted, origins
from pellucid.monitoring.feedback.receipts import FeedbackReceipt
from pellucid.monitoring.feedback.taking import Given, Taking
from pellucid.monitoring.feedback.truths import Truth

_FRESH_MS = 10_000  # a younger prediction may still be in a recorder's queue
_DAY_MS = 86_400_000
_LATER = 1e-3  # seconds
_MOST_HOURS = 10_000  # of the ids of a request; each is looked for by itself, about 1 ms


class Feedback:
    """Where labels are taken in.

    Args:
        log: root of the prediction log.
        labels: root of the labels.
        writer: of them.
        truth_of: the target of a model's version; raises `NotFound` of one that is gone.
        flush: has what was answered until now written to the log.
        days: predictions are kept; 0 is for ever.
    """

    def __init__(
        self,
        log: Path,
        labels: Path,
        writer: LabelWriter,
        truth_of: Callable[[str, int], Truth],
        flush: Callable[[], None] = lambda: None,
        days: int = 0,
    ) -> None:
        self._log, self._labels, self._writer = log, labels, writer
        self._truth_of, self._flush, self._days = truth_of, flush, days

    def take(self, given: Given, source: str = "") -> FeedbackReceipt:
        """Check labels, keep those that can be, and say what became of each.

        Args:
            given: the labels.
            source: where they come from, kept with them.

        Raises:
            InvalidRows: there is none, or the single one is refused.
            TooLarge: they are of predictions of too many hours.
            Unavailable: what a label of a version may be cannot be asked now; nothing was kept.
            OSError: the disk does not take them; nothing was kept.
        """
        now = time.time()
        taking = Taking(given)
        _check_hours(taking.words)
        found = self._find(taking.words, now)
        truths = [self._truth(*version) for version in found.versions]
        taking.check(found, truths)
        if self._days:
            taking.too_late(int(now * 1000) - self._days * _DAY_MS)
        known, last = self._known(taking.words, found, truths)
        taking.compare(known)
        receipt = taking.receipt(truths)
        if not receipt.received or (given.single and receipt.refused):
            raise _nothing(receipt)
        told = max(now, last + _LATER)  # clocks may be set back, or be of several machines
        records, models = taking.records([model for model, _ in found.versions], told, source)
        if len(records):
            self._writer.append(records, models)
        return receipt

    def _find(self, words: ids.Words, now: float) -> Origins:
        found = origins(self._log, words)
        age = now * 1000 - (words[found.which < 0, 0] >> np.uint64(16)).astype(np.float64)
        if (np.abs(age) < _FRESH_MS).any():
            self._flush()
            found = origins(self._log, words)
        return found

    def _truth(self, model: str, version: int) -> Truth:
        try:
            return self._truth_of(model, version)
        except NotFound:  # deleted since; nobody knows what its classes were
            return Truth("other")

    def told(self, model: str, prediction: uuid.UUID) -> pa.Table:
        """All labels of one prediction of a model, as `Labels.told` has them."""
        return Labels(self._labels).told(model, prediction)

    def _known(
        self, words: ids.Words, found: Origins, truths: Sequence[Truth]
    ) -> tuple[list[str | None], float]:
        """The labels that the ids have by now, and when the last of them was told.

        They are written as their version's target has them.
        """
        known: list[str | None] = [None] * len(words)
        last = 0.0
        names = sorted({model for model, _ in found.versions})
        model_of = np.array([*(names.index(model) for model, _ in found.versions), -1])[found.which]
        labels, hours = Labels(self._labels), ids.hours(words)
        for hour, model in np.unique(np.stack((hours, model_of), 1), axis=0).tolist():
            rows = np.flatnonzero((hours == hour) & (model_of == model))
            wanted = Wanted(words[rows])
            table = labels.latest(names[model] if model >= 0 else "", hour, wanted)
            at, places = wanted.match(table.column("id").combine_chunks())
            texts = table.column("label").take(at).to_pylist()
            if texts:
                last = max(last, pc.max(table.column("time")).cast(pa.int64()).as_py() / 1e6)
            for text, place in zip(texts, rows[places].tolist(), strict=True):
                which = found.which[place]
                known[place] = truths[which].canonical(text) if which >= 0 else text
        return known, last


def _check_hours(words: ids.Words) -> None:
    hours = len(np.unique(ids.hours(words)))
    if hours > _MOST_HOURS:
        raise TooLarge(
            f"The labels are of predictions of {hours:,} hours, more than {_MOST_HOURS:,}.",
            remedy="Send them in several files.",
        )


def _nothing(receipt: FeedbackReceipt) -> InvalidRows:
    if not receipt.received:
        return InvalidRows("There is no label.", remedy='Send {"id": ..., "label": ...}.')
    (note,) = receipt.notes
    return InvalidRows(note.reason, where={"row": note.row, "id": note.id})
