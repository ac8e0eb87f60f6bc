"""Shapley values of any model by permutations, with the `shap` package.

The players are the raw columns of one row. What some of them are worth together is the mean of the
explained number over the background, each background row with their values in place of its own
(Strumbelj and Kononenko, 2014). shap sees only that game, so columns may be numbers, strings or
images, and background rows may count differently.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pellucid.bundle import BACKGROUND, Bundle
from pellucid.errors import InvalidData
from pellucid.raw.columns import pieces
from pellucid_api.engine.devices import CPU, Place, open_session
from pellucid_api.engine.tables import decode_table
from pellucid_api.engine.values import Values
from pellucid_api.rowwise import Feed

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Worth = Callable[[Masks], Floats]
"""(sets, columns), which columns are the row's own, to (sets, outputs)."""

_ROWS = 2**13  # that the model runs at once


class Scores:
    """The number that a graph explains, without the explanation: a part of explain.onnx.

    Args:
        path: of the graph.
        output: the number's place among its outputs.
        place: of the session.
    """

    def __init__(self, path: Path, output: int, place: Place = CPU) -> None:
        self._session = open_session(_part(path, output), place)
        ends = self._session.get_inputs(), self._session.get_overridable_initializers()
        self._takes = {each.name for some in ends for each in some}

    def run(self, feed: Mapping[str, Values]) -> Values:
        """(rows, outputs), or (rows, 1) of the one that is chosen."""
        feed = {name: values for name, values in feed.items() if name in self._takes}
        parts = [self._session.run(None, piece)[0] for piece in pieces(feed)]
        return np.concatenate(parts)


class Background:
    """The rows that the others are compared to.

    Args:
        feed: arrays (B, ...), one per raw column.
        weights: (B,), adding up to 1.
    """

    def __init__(self, feed: Feed, weights: Floats) -> None:
        self.feed, self.weights = feed, weights

    @classmethod
    def of(cls, bundle: Bundle, tokenizer: Any) -> "Background":
        """That of a bundle. Raises `InvalidData` if it cannot be read."""
        path, inputs = bundle.root / BACKGROUND, bundle.manifest.features
        try:
            table = pq.read_table(path)
            weights = table.column(table.num_columns - 1).to_numpy().astype(np.float64)
            columns = table.select([each.name for each in inputs])
        except (OSError, KeyError, ValueError) as error:  # Arrow's are ValueErrors
            raise InvalidData(
                f"The bundle's background rows cannot be read: {error}.",
                where={"model": bundle.manifest.name, "file": path.name},
                remedy="Train the model again with this version of Pellucid.",
            ) from error
        return cls(decode_table(columns, inputs, len(weights), tokenizer), weights / weights.sum())

    def worth(self, run: Callable[[Feed], Values], row: Feed) -> Worth:
        """What sets of the row's columns are worth.

        Args:
            run: arrays (N, ...) to (N, outputs).
            row: arrays (1, ...).
        """
        names, rows = list(row), len(self.weights)
        at_once = max(1, _ROWS // rows)

        def some(masks: Masks) -> Floats:
            mixed = {}
            for i, name in enumerate(names):
                column = np.tile(self.feed[name], (len(masks), *(1,) * (row[name].ndim - 1)))
                column[np.repeat(masks[:, i], rows)] = row[name][0]
                mixed[name] = column
            scores = run(mixed).reshape(len(masks), rows, -1)
            means: Floats = np.einsum("sbk,b->sk", scores, self.weights, dtype=np.float64)
            return means

        def worth(masks: Masks) -> Floats:
            masks = np.asarray(masks, dtype=np.bool_)
            starts = range(0, len(masks), at_once)
            return np.concatenate([some(masks[start : start + at_once]) for start in starts])

        return worth


def shapley_values(worth: Worth, columns: int, permutations: int, seed: int) -> Floats:
    """(columns, outputs): they add up to what all columns are worth more than none.

    Args:
        worth: of the game.
        columns: how many there are.
        permutations: each is gone through there and back (Mitchell et al., JMLR 2022): one is exact
            where no more than two columns interact.
        seed: of the permutations.
    """
    import shap  # seconds

    explainer = shap.PermutationExplainer(worth, np.zeros((1, columns)), seed=seed)
    found: Floats = explainer.explain_row(
        np.ones(columns),
        max_evals=permutations * (2 * columns + 1),
        batch_size=2 * columns + 1,
        main_effects=False,
        error_bounds=False,
        outputs=None,
        silent=True,
    )["values"]
    return found


def _taken(node: Any) -> Iterator[str]:
    """The names that a node takes, and those inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _taken(inner)


def _part(path: Path, output: int) -> bytes:
    """The nodes and inputs of a graph that one of its outputs needs."""
    import onnx  # seconds, as shap
    from onnxscript.optimizer import remove_unused_nodes

    model = onnx.load(path)
    wanted = model.graph.output[output]
    del model.graph.output[:]
    model.graph.output.append(wanted)
    remove_unused_nodes(model)
    needed = {name for node in model.graph.node for name in _taken(node)}
    inputs = [each for each in model.graph.input if each.name in needed]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return bytes(model.SerializeToString())
