"""What became of labels that were sent, as the service tells it and the client reads it."""

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import Field

from pellucid.resources.base import Resource

Answer = Literal["accepted", "repeated", "conflicting", "pending", "late", "refused"]


class LabelNote(Resource):
    """A label that was not simply taken, and why."""

    row: Annotated[int, Field(description="Of the request, from 1; a header is not counted.")]
    id: Annotated[str, Field(description="The prediction's id, as it was sent.")]
    answer: Answer
    reason: str


class FeedbackReceipt(Resource):
    """How many labels came, and what became of them: the six counts add up to `received`."""

    received: int
    accepted: Annotated[int, Field(description="New, of predictions in the log.")] = 0
    repeated: Annotated[int, Field(description="Known already; not stored again.")] = 0
    conflicting: Annotated[
        int, Field(description="Another label than before; both are kept, this one counts.")
    ] = 0
    pending: Annotated[
        int, Field(description="Of ids not in the log; kept, and joined if they turn up.")
    ] = 0
    late: Annotated[
        int, Field(description="Of predictions older than they are kept; not stored.")
    ] = 0
    refused: Annotated[int, Field(description="No id, or no label of the model's.")] = 0
    notes: Annotated[
        tuple[LabelNote, ...], Field(description="The first hundred that were not simply taken.")
    ] = ()
    notes_left_out: int = 0


def together(receipts: Iterable[FeedbackReceipt]) -> FeedbackReceipt:
    """The receipts of parts of a file, one after the other, as one; rows are those of the file."""
    counts = dict.fromkeys((*get_args(Answer), "received", "notes_left_out"), 0)
    notes: list[LabelNote] = []
    for each in receipts:
        first = counts["received"]
        notes += [note.model_copy(update={"row": first + note.row}) for note in each.notes]
        counts = {name: count + getattr(each, name) for name, count in counts.items()}
    return FeedbackReceipt(**counts, notes=tuple(notes))
