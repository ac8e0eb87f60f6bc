"""A client's tensors to the arrays that a model takes, whatever carried them.

| kind | datatype | shape |
|---|---|---|
| numeric, datetime, boolean | a numeric one; null or NaN is missing | [rows] or [rows, 1] |
| categorical | BYTES: strings; null or "" is missing | [rows] or [rows, 1] |
| image | BYTES: image files; their base64 in JSON | [rows] or [rows, 1] |
| | UINT8: pixels | [rows, (frames,) height, width(, channels)], of any size |
| sequence | a numeric one; null or NaN is missing | [rows, steps], of any length |
| text | BYTES: strings | [rows] or [rows, 1] |
| | INT64: tokens, 0 after the last | [rows, tokens], no more than the model's |
| tensor | the model's own | the model's own |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidRows, TooLarge
from pellucid.schema import Kind
from pellucid_api.engine.rows import check_size, rule_of
from pellucid_api.engine.values import BOOLEANS, STRINGS, Values, clipped, convert
from pellucid_api.oip import arrays
from pellucid_api.oip.binary import MOST_AXES
from pellucid_api.oip.elements import Tensor, fitting, numbers, refused, rule_for, strings

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

_TAKEN = {
    Kind.IMAGE: "Send BYTES [rows], image files (in JSON their base64), or UINT8 [rows, height, "
    "width, channels].",
    Kind.SEQUENCE: "Send FP64 [rows, steps]; null is missing.",
    Kind.TEXT: "Send BYTES [rows], or INT64 tokens [rows, tokens].",
}


def feed_of(
    tensors: Sequence[Tensor],
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Raises:
        InvalidRows: an input is missing, unknown, given twice, or its datatype, shape or data do
            not fit.
        TooLarge: more than `max_rows` rows, or too much once decoded.
    """
    known = {each.name: each for each in inputs}
    _check_names([tensor.name for tensor in tensors], known)
    rows = {tensor.name: _rows(tensor, known[tensor.name]) for tensor in tensors}
    if (count := max(rows.values(), default=0)) > max_rows:
        raise TooLarge(f"{count:,} rows are more than {max_rows:,}, the limit of one request.")
    check_size(count, [each for each in inputs if each.kind is not Kind.TENSOR])
    feed = {tensor.name: array_of(tensor, known[tensor.name], tokenizer) for tensor in tensors}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidRows(f"The inputs differ in their number of rows: {counts}.")
    return feed


def array_of(tensor: Tensor, target: Input, tokenizer: "Tokenizer | None") -> Values:
    """The array (rows, *shape) of one input.

    Raises:
        InvalidRows: the tensor's datatype, shape or data do not fit.
    """
    _rows(tensor, target)
    if target.kind is Kind.TENSOR:
        return arrays.as_it_is(tensor, target)
    if not target.shape:
        return _column(tensor, target)
    flat = len(tensor.shape) == 1 or list(tensor.shape[1:]) == [1]
    match target.kind, tensor.datatype:
        case Kind.IMAGE, "BYTES" if flat:
            return arrays.images(tensor, target)
        case Kind.IMAGE, "UINT8":
            return arrays.pixels(tensor, target)
        case Kind.SEQUENCE, datatype if datatype != "BYTES" and len(tensor.shape) == 2:
            return arrays.sequences(tensor, target)
        case Kind.TEXT, "BYTES" if flat:
            rule = rule_of(target, tokenizer)
            return fitting(tensor, convert(strings(tensor), rule), rule)
        case Kind.TEXT, "INT64" if len(tensor.shape) == 2 and tokenizer is not None:
            return arrays.tokens(tensor, target, tokenizer.vocabulary)
    raise refused(
        tensor.name,
        f"its datatype is {clipped(tensor.datatype)} and its shape {list(tensor.shape)}",
        _TAKEN[target.kind],
    )


def _check_names(given: list[str], known: dict[str, Input]) -> None:
    for name in given:
        if name not in known:
            raise refused(name, "the model has no such input", f"It has: {', '.join(known)}.")
    if len(set(given)) < len(given):
        raise refused(next(n for n in given if given.count(n) > 1), "it is given twice")
    missing = [name for name in known if name not in given]
    if missing:
        raise InvalidRows(
            f"Missing inputs: {', '.join(missing)}.", remedy="null stands for a missing value."
        )


def _rows(tensor: Tensor, target: Input) -> int:
    shape = tensor.shape
    if len(shape) > MOST_AXES:
        raise refused(tensor.name, f"its shape has {len(shape)} axes, and {MOST_AXES} are the most")
    if not shape or min(shape) < 1:
        raise refused(tensor.name, f"its shape is {list(shape)}")
    if target.scalar and (len(shape) > 2 or shape[-1] != 1 < len(shape)):
        raise refused(tensor.name, f"its shape is {list(shape)}", "Send [rows] or [rows, 1].")
    return shape[0]


def _column(tensor: Tensor, target: Input) -> Values:
    texts = target.datatype is Datatype.BYTES
    if (tensor.datatype == "BYTES") != texts:
        raise refused(
            tensor.name,
            f"its datatype is {clipped(tensor.datatype)}",
            f"The model takes {target.datatype.value}.",
        )
    if texts:
        return fitting(tensor, convert(strings(tensor), STRINGS), STRINGS)
    rule = BOOLEANS if target.kind is Kind.BOOLEAN else rule_for(tensor)
    return numbers(tensor, rule).reshape(tensor.shape[0])
