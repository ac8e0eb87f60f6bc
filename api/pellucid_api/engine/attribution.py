"""The graph that explains, in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from pellucid.bundle import Manifest
from pellucid.errors import InvalidData
from pellucid_api.engine.devices import open_session
from pellucid_api.engine.values import Values

CHOSEN, SHARES = "explain/chosen", "explain/shares"
_VALUES = 4  # outputs after the model's own: explained, shap, base, gap
_REMEDY = "Train it again, or promote another version."


class Attributed(NamedTuple):
    """Rows explained: the model's own outputs, and what each column adds to some of its numbers.

    predictions: as the model gives them, (rows, ...) each. explained: (rows, k). shap: (rows,
    columns, k). base: (rows, k). gap: (rows, k), |base + sum of shap - explained|. places: (rows,
    *places, k), or None of a table.
    """

    predictions: tuple[Values, ...]
    explained: Values
    shap: Values
    base: Values
    gap: Values
    places: Values | None = None

    def take(self, rows: Values) -> "Attributed":
        """The rows of these numbers, in this order."""
        return Attributed(
            tuple([each[rows] for each in self.predictions]),
            self.explained[rows],
            self.shap[rows],
            self.base[rows],
            self.gap[rows],
            None if self.places is None else self.places[rows],
        )


class Attributor:
    """An open session over explain.onnx.

    Args:
        path: of the graph.
        manifest: of its bundle.
        threads: of a run; 0 is one for each core that this process may use.

    Raises:
        InvalidData: ONNX Runtime cannot open it, or it does not have the outputs of such a graph.
    """

    def __init__(self, path: Path, manifest: Manifest, threads: int = 1) -> None:
        self._where = {"model": manifest.name, "file": str(path)}
        try:
            session = open_session(str(path), threads=threads)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise self._refusal(f"ONNX Runtime cannot open it: {error}") from error
        self._session, self._own = session, len(manifest.outputs)
        settable = {each.name for each in session.get_overridable_initializers()}
        self.chooses, self.refines = CHOSEN in settable, SHARES in settable
        found = len(session.get_outputs()) - self._own
        if found - _VALUES not in (0, 1):
            raise self._refusal(f"It has {found} outputs beside the model's.")
        self._options = onnxruntime.RunOptions()

    def run(self, feed: Mapping[str, Values], steps: int = 0) -> list[Values]:
        """Every output, in the graph's order, for arrays (rows, *shape), one per input.

        Args:
            feed: the raw columns, and `CHOSEN` where the graph takes it.
            steps: between a row and a background row; 0 is the graph's own number.
        """
        if steps:
            shares = (np.arange(steps, dtype=np.float32) + 0.5) / steps
            feed = {**feed, SHARES: shares.astype(np.float32)}
        self._options.terminate = False
        found: list[Values] = self._session.run(None, feed, self._options)
        return found

    def stop(self) -> None:
        """Let the run under way end with an error, as soon as its current operator has ended."""
        self._options.terminate = True

    def read(self, outputs: Sequence[Values]) -> Attributed:
        """The outputs of a run by what they are; those for one chosen output get an axis for it."""
        own = self._own
        explained, shap, base, gap, *places = outputs[own:]
        return Attributed(
            tuple(outputs[:own]),
            explained,
            shap,
            base,
            gap,
            places[0][..., None] if places else None,
        )

    def verify(self, feed: Mapping[str, Values], expected: Sequence[Values], limit: float) -> None:
        """Refuse a graph that is not the model's, or does not compute.

        Args:
            feed: some rows.
            expected: the model's outputs for them.
            limit: largest difference of a prediction, relative to 1 or to the largest of them.

        Raises:
            InvalidData: it is.
        """
        try:
            found = self.read(self.run(feed))
        except Exception as error:  # see above
            raise self._refusal(f"ONNX Runtime cannot run it: {error}") from error
        for given, wanted in zip(found.predictions, expected, strict=True):
            if wanted.dtype.kind != "f":
                continue
            largest = max(1.0, float(abs(wanted).max(initial=0.0)))
            if not np.allclose(given, wanted, rtol=0, atol=limit * largest):
                raise self._refusal("It predicts something else than the model does.")
        if not np.isfinite(found.shap).all():
            raise self._refusal("Its SHAP values are not all finite.")

    def _refusal(self, reason: str) -> InvalidData:
        return InvalidData(
            f"The model's explanations cannot be served. {reason}",
            where=self._where,
            remedy=_REMEDY,
        )
