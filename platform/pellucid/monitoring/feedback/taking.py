"""The labels of one request, decided on together: arrays of rows, no loop over them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.monitoring import ids
from pellucid.monitoring.columns import TIME
from pellucid.monitoring.feedback.labels import RECORDS
from pellucid.monitoring.feedback.matching import Origins
from pellucid.monitoring.feedback.receipts import Answer, FeedbackReceipt, LabelNote
from pellucid.monitoring.feedback.truths import Truth

ANSWERS: tuple[Answer, ...] = (
    "accepted", "repeated", "conflicting", "pending", "late", "refused"
)  # fmt: skip
ACCEPTED, REPEATED, CONFLICTING, PENDING, LATE, REFUSED = range(6)
_REASONS = {
    CONFLICTING: "Another label was known; both are kept, and this one counts.",
    PENDING: "The prediction is not in the log: it was not in its model's sample, the log was "
    "off, or it is still to come. The label is kept, and joined as soon as it is there.",
    LATE: "Predictions that old are no longer kept, so there is nothing to join.",
}
_NOTES = 100
_SHOWN = 60  # characters of what was sent


@dataclass(frozen=True)
class Given:
    """Labels as they were sent, N rows.

    Attributes:
        words: (N, 2) ids, and `valid` (N,) which are ids.
        labels: N strings as an Arrow array; null where there is none.
        texts: N ids as they were written, for notes.
        single: it is one label on its own, which is taken or is an error.
    """

    words: ids.Words
    valid: NDArray[np.bool_]
    labels: pa.Array
    texts: pa.Array
    single: bool = False

    @classmethod
    def of(cls, texts: pa.Array, labels: pa.Array, *, single: bool = False) -> "Given":
        """From arrays of strings."""
        return cls(*ids.parse_many(texts), labels, texts, single)


@dataclass
class Taking:
    """What becomes of each row.

    Attributes:
        words: (U, 2) the ids, each once.
        answer: (N,) places in `ANSWERS`.
        origin: (N,) places in the versions of the predictions; -1 where there is none.
    """

    given: Given
    words: ids.Words = field(init=False)
    answer: NDArray[np.int8] = field(init=False)
    origin: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        given = self.given
        encoded = given.labels.dictionary_encode()
        self._texts: list[str] = encoded.dictionary.to_pylist()
        self._code = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        usable = given.valid & (self._code >= 0)
        self._rows = np.flatnonzero(usable)
        self.answer = np.where(usable, ACCEPTED, REFUSED).astype(np.int8)
        self.origin = np.full(len(usable), -1)
        self.words, self._place = _each_once(given.words[self._rows])

    def check(self, found: Origins, truths: Sequence[Truth]) -> None:
        """Write every label as the target of its version has it, and refuse what is none of its."""
        rows, count = self._rows, len(self._texts)
        self.origin[rows] = origin = found.which[self._place]
        pairs, pair_of = np.unique(origin * count + self._code[rows], return_inverse=True)
        codes: dict[str, int] = {}
        made = np.full(len(pairs), -1)
        for n, (which, code) in enumerate(zip(pairs // count, pairs % count, strict=True)):
            text = self._texts[code]
            written = (
                truths[which].canonical(text) if which >= 0 else Truth("other").canonical(text)
            )
            if written is not None:
                made[n] = codes.setdefault(written, len(codes))
        self._texts = list(codes)
        self._code[rows] = code = made[pair_of]
        self.answer[rows] = np.where(code < 0, REFUSED, np.where(origin < 0, PENDING, ACCEPTED))

    def too_late(self, oldest_ms: int) -> None:
        """Leave out what belongs to predictions that were given before, and are not in the log."""
        old = self.words[self._place, 0] >> np.uint64(16) < np.uint64(oldest_ms)
        self.answer[self._rows[old & (self.answer[self._rows] == PENDING)]] = LATE

    def compare(self, known: Sequence[str | None]) -> None:
        """Compare each row with the row of the same id before it, or with what is known.

        Args:
            known: the label of each of the U ids; None of what has none yet.
        """
        codes = {text: n for n, text in enumerate(self._texts)}
        before = np.array([-1 if t is None else codes.get(t, -2) for t in known], np.int64)
        taken = np.isin(self.answer[self._rows], (ACCEPTED, PENDING))
        rows, place = self._rows[taken], self._place[taken]
        order = np.argsort(place, kind="stable")
        rows, place = rows[order], place[order]
        code = self._code[rows]
        follows = np.append(False, place[1:] == place[:-1])[: len(place)]
        previous = np.where(follows, np.append(-1, code[:-1])[: len(code)], before[place])
        self.answer[rows[previous == code]] = REPEATED
        self.answer[rows[(previous != code) & (previous != -1)]] = CONFLICTING

    def records(
        self, models: Sequence[str], now: float, source: str
    ) -> tuple[pa.RecordBatch, pa.Array]:
        """What is to be stored, and whose predictions these are.

        Args:
            models: of the versions that `origin` tells.
            now: seconds since 1970-01-01 UTC.
            source: of the labels.
        """
        kept = np.isin(self.answer, (ACCEPTED, CONFLICTING, PENDING))
        rows = np.flatnonzero(kept)
        texts = pa.array(self._texts, pa.string())
        columns = [
            ids.to_arrow(self.given.words[rows]),
            pa.repeat(pa.scalar(int(now * 1e6), pa.int64()), len(rows)).view(TIME),
            pa.array(rows + 1, pa.int32()),
            texts.take(pa.array(self._code[rows])),
            pa.repeat(source, len(rows)),
        ]
        names = pa.array([*models, ""], pa.string())
        of = np.where(self.origin[rows] < 0, len(models), self.origin[rows])
        return pa.RecordBatch.from_arrays(columns, schema=RECORDS), names.take(pa.array(of))

    def receipt(self, truths: Sequence[Truth]) -> FeedbackReceipt:
        """The counts, and a note for each of the first rows that were not simply taken."""
        counts = np.bincount(self.answer, minlength=len(ANSWERS)).tolist()
        noted = np.flatnonzero(~np.isin(self.answer, (ACCEPTED, REPEATED)))
        return FeedbackReceipt(
            received=len(self.answer),
            **dict(zip(ANSWERS, counts, strict=True)),
            notes=tuple(self.note(row, truths) for row in noted[:_NOTES].tolist()),
            notes_left_out=max(0, len(noted) - _NOTES),
        )

    def note(self, row: int, truths: Sequence[Truth]) -> LabelNote:
        """Why a row was not simply taken."""
        answer, text = int(self.answer[row]), self.given.texts[row].as_py()
        shown = "" if text is None else text[:_SHOWN]
        reason = _REASONS[answer] if answer in _REASONS else self._refusal(row, shown, truths)
        return LabelNote(row=row + 1, id=shown, answer=ANSWERS[answer], reason=reason)

    def _refusal(self, row: int, shown: str, truths: Sequence[Truth]) -> str:
        if not self.given.valid[row]:
            return f"{shown!r} is no prediction's id: the UUID that came with the prediction."
        label = self.given.labels[row].as_py()
        if label is None:
            return "There is no label."
        if self.origin[row] < 0:
            return f"A label of {len(label):,} characters is longer than any."
        return f"{label[:_SHOWN]!r} is not {truths[self.origin[row]].wanted}."


def _each_once(words: ids.Words) -> tuple[ids.Words, NDArray[np.int64]]:
    """The words, each once, and for each row the place of its own."""
    order = np.lexsort((words[:, 1], words[:, 0]))
    ordered = words[order]
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(ordered)]
    place = np.empty(len(words), np.int64)
    place[order] = np.cumsum(new) - 1
    return ordered[new], place
