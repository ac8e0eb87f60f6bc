"""Many rows through a model, some at a time; the one that it cannot run is found."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pellucid.errors import InvalidRows
from pellucid_api.engine.values import Values

Feed = dict[str, Values]
Run = Callable[[Feed], Feed]


def run_rows(run: Run, feed: Feed, places: Sequence[int], most: int) -> Feed:
    """What `run` gives for all rows: arrays that have one entry for each.

    Args:
        run: of a model.
        feed: arrays (rows, ...).
        places: of the rows in their data set, from 0.
        most: rows at once.

    Raises:
        InvalidRows: a row cannot be run.
    """
    starts = range(0, len(places), most)
    return joined(
        [
            _run(run, cut(feed, start, start + most), places[start : start + most])
            for start in starts
        ]
    )


def cut(feed: Feed, start: int, stop: int) -> Feed:
    """The rows from `start` to before `stop`."""
    return {name: values[start:stop] for name, values in feed.items()}


def joined(outputs: Sequence[Feed]) -> Feed:
    """The rows of all, in order."""
    if len(outputs) == 1:
        return outputs[0]
    return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}


def rows_in(feed: Feed) -> int:
    """How many rows there are."""
    return len(next(iter(feed.values())))


def each_row(feed: Feed) -> Iterator[Feed]:
    """The rows one by one."""
    for row in range(rows_in(feed)):
        yield cut(feed, row, row + 1)


def _run(run: Run, feed: Feed, places: Sequence[int]) -> Feed:
    """Run the rows; where that fails their halves, down to the row that is at fault."""
    try:
        return run(feed)
    except Exception as error:  # ONNX Runtime's errors share no base class
        if len(places) == 1:
            number = places[0] + 1
            raise InvalidRows(
                f"Row {number}: the model cannot run it: {error}",
                where={"row": number},
                remedy="Leave the row out, or use another version.",
            ) from error
    middle = len(places) // 2
    head = _run(run, cut(feed, 0, middle), places[:middle])
    tail = _run(run, cut(feed, middle, len(places)), places[middle:])
    return joined([head, tail])
