"""A bundle's network in ONNX Runtime, on a device that it really got."""

import ctypes
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnxruntime

from pellucid import decisions
from pellucid.bundle import PARITY, Bundle, Datatype, Input, Output, parity_error
from pellucid.errors import DeviceUnavailable, InvalidData
from pellucid.raw.columns import pieces, tokenizer_in
from pellucid.schema import Kind
from pellucid_api.engine import probing
from pellucid_api.engine.binding import Bound
from pellucid_api.engine.devices import (
    CPU_PROVIDER,
    Device,
    Place,
    device_of,
    open_session,
    running_on,
)
from pellucid_api.engine.spread import Spread
from pellucid_api.engine.values import Values

_PROBED_ROWS = (1, 3)
_BATCHABLE = "Export it so that the first axis of every input and output is the batch, of any size."
_BFLOAT16 = 16  # ONNX's number of the type, which NumPy does not have

_Run = Callable[[Mapping[str, Values], onnxruntime.RunOptions], Sequence[Values]]


class Port(NamedTuple):
    """An input or output of a graph, as ONNX Runtime tells it."""

    name: str
    type: str  # tensor(float), ...
    shape: tuple[int | str | None, ...]  # a name or None is free


class Model:
    """An open session over a bundle's `model.onnx`.

    Args:
        bundle: its hashes verified.
        device: where it must run; nothing falls back silently.
        threads: of a run on the CPU; 0 is one for each core that this process may use.

    Raises:
        DeviceUnavailable: a session did not get its GPU.
        InvalidData: ONNX Runtime cannot open the model, or a text model lacks its tokenizer.
    """

    def __init__(self, bundle: Bundle, device: Device, threads: int = 0) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.tokenizer = tokenizer_in(bundle.root)
        where = {"model": bundle.manifest.name, "file": str(bundle.model_path)}
        if self.tokenizer is None and any(i.kind is Kind.TEXT for i in self.manifest.inputs):
            raise InvalidData("The bundle of a text model has no tokenizer.", where=where)
        opened = functools.partial(_open, str(bundle.model_path), threads, where)
        place = Place.of(device)
        ends: list[Input | Output] = [*self.manifest.inputs, *self.manifest.outputs]
        self._spread: Spread | None = None  # over GPUs
        self._run: _Run
        if any(end.datatype is Datatype.BF16 for end in ends):  # NumPy has it not, to be bound
            session = opened(place.each[0], graphs=False)
            self._run = functools.partial(_run_values, session)
        elif place.kind == "cpu":
            session = opened(place, graphs=False)
            self._run = functools.partial(session.run, None)
        else:
            strings = any(end.datatype is Datatype.BYTES for end in ends)
            self._spread = Spread(
                [
                    Bound(opened, each, self.manifest.outputs, graphs=not strings)
                    for each in place.each
                ]
            )
            session = self._spread.session
            self._run = self._spread.run
        self.providers = running_on(session)
        # A model whose operators no GPU has runs on the CPU, wherever it was asked to.
        self.device: Device = "cpu" if self.providers == [CPU_PROVIDER] else place.device
        self._names = [output.name for output in self.manifest.outputs]
        self._options = onnxruntime.RunOptions()
        # A graph that was made elsewhere, for one row.
        self._one_by_one = any(port.shape[:1] == [1] for port in session.get_inputs())
        self._length = probing.LENGTHS[0]  # of free axes, in rows that are made up

    def run(self, feed: Mapping[str, Values]) -> dict[str, Values]:
        """Every output, by name, for arrays (rows, *shape), one per input.

        Many rows are run piece by piece, which bounds the memory that the network's layers take.
        Outputs are taken by position: in the graph, an input of the same name has the name.
        """
        self._options.terminate = False
        found = [self._run(piece, self._options) for piece in self._pieces(feed)]
        outputs = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        return dict(zip(self._names, outputs, strict=True))

    def stop(self) -> None:
        """Let the run under way end with an error, as soon as its current operator has ended."""
        self._options.terminate = True
        if self._spread is not None:
            self._spread.stop()

    def prepare(self, rows: int) -> Iterator[int]:
        """On a GPU, run every size of batch up to so many rows, so that no request does so first.

        Yields:
            Each size, after it has run.

        Raises:
            InvalidData: one cannot be run.
        """
        if self._spread is None or self._one_by_one:
            return
        try:
            yield from self._spread.prepare(self.examples(), rows)
        except Exception as error:  # see above
            raise self._refusal(
                f"{self.device} cannot run batches of up to {rows} rows: {error}",
                "Lower PELLUCID_MAX_BATCH_ROWS, or free some of the GPU's memory.",
            ) from error

    def verify(self) -> float:
        """Run the bundle's parity rows, which also warms the session.

        A model that was made elsewhere has none: it runs zeros.

        Returns:
            The largest difference to what PyTorch gave, as `bundle.parity_error` measures it.

        Raises:
            InvalidData: the difference exceeds the manifest's tolerance, or a label differs
                although its probability leads by more than that. Of a model that was made
                elsewhere: it cannot run, or its outputs do not have one entry per row.
        """
        if self.manifest.task == "other":
            self._probe()
            return 0.0
        feed, expected = self.parity()
        try:
            outputs = self.run(feed)
        except Exception as error:  # see above
            raise self._refusal(f"ONNX Runtime cannot run the parity rows: {error}") from error
        tolerance = self.manifest.parity.tolerance
        worst = max(
            (
                parity_error(outputs[name], value, name)
                for name, value in expected.items()
                if value.dtype.kind == "f"
            ),
            default=0.0,
        )
        if not worst <= tolerance:  # also refuses NaN
            raise self._refusal(f"It differs from PyTorch by {worst:.2g} (limit {tolerance:.2g}).")
        if "label" in expected and not self._same_labels(outputs, expected, feed):
            raise self._refusal("It gives other labels than PyTorch.")
        return worst

    def examples(self) -> dict[str, Values]:
        """The inputs of the bundle's parity rows, one array (rows, *shape) each.

        Of a model that was made elsewhere: zeros.
        """
        if self.manifest.task == "other":
            return probing.examples(self.manifest.inputs, self._length)
        feed, _ = self.parity()
        return feed

    def _pieces(self, feed: Mapping[str, Values]) -> Iterator[dict[str, Values]]:
        if not self._one_by_one:
            if self._spread is None:
                yield from pieces(feed)
            else:
                yield dict(feed)  # which cuts them as fits a GPU
            return
        for row in range(len(next(iter(feed.values())))):
            yield {name: array[row : row + 1] for name, array in feed.items()}

    def _probe(self) -> None:
        """Find a length of the free axes that the model runs with, and check the rows."""
        inputs = self.manifest.inputs
        free = any(-1 in each.shape for each in inputs)
        error: Exception | None = None
        for self._length in probing.LENGTHS if free else probing.LENGTHS[:1]:
            try:
                found = [
                    self.run(probing.blanks(inputs, rows, self._length)) for rows in _PROBED_ROWS
                ]
            except Exception as failure:  # see above
                error = error or failure
                continue
            wrong = [
                text
                for rows, outputs in zip(_PROBED_ROWS, found, strict=True)
                for text in probing.misfits(outputs, rows)
            ]
            if wrong:
                raise self._refusal(f"It cannot be batched: {wrong[0]}.", _BATCHABLE)
            return
        raise self._refusal(f"It cannot run rows of zeros: {error}", _BATCHABLE) from error

    def parity(self) -> tuple[dict[str, Values], dict[str, Values]]:
        """The inputs of the bundle's parity rows, and the outputs that PyTorch gave.

        Raises:
            InvalidData: they cannot be read.
        """
        try:
            with np.load(self.bundle.root / PARITY, allow_pickle=False) as arrays:
                feed = {each.name: arrays[f"input:{each.name}"] for each in self.manifest.inputs}
                # ONNX Runtime cuts NumPy's own strings at a NUL character
                feed = {k: v.astype(object) if v.dtype.kind == "U" else v for k, v in feed.items()}
                expected = {o.name: arrays[f"output:{o.name}"] for o in self.manifest.outputs}
        except (OSError, KeyError, ValueError) as error:
            raise self._refusal(f"The parity rows cannot be read: {error}.") from error
        return feed, expected

    def _same_labels(
        self,
        given: Mapping[str, Values],
        expected: Mapping[str, Values],
        feed: Mapping[str, Values],
    ) -> bool:
        """Whether labels differ at most where the decision is too close to be sure of."""
        probabilities = expected["probabilities"]
        if (thresholds := decisions.thresholds(self.manifest, feed)) is not None:
            positive = self.manifest.classes.index(self.manifest.positive_class)
            margin = 2 * abs(probabilities[:, positive] - thresholds)
        else:
            best = np.sort(probabilities, axis=1)
            margin = best[:, -1] - best[:, -2]
        differing = given["label"] != expected["label"]
        return not np.any(differing & (margin > 2 * self.manifest.parity.tolerance))

    def _refusal(
        self, reason: str, remedy: str = "Train it again, or promote another version."
    ) -> InvalidData:
        return InvalidData(
            f"The model fails verification. {reason}",
            where={"model": self.manifest.name, "file": str(self.bundle.model_path)},
            remedy=remedy,
        )


def ports(path: Path) -> tuple[list[Port], list[Port]]:
    """The inputs and the outputs of an ONNX file.

    Raises:
        InvalidData: ONNX Runtime cannot open it.
    """
    try:
        session = open_session(str(path))
    except Exception as error:  # see above
        raise InvalidData(
            f"ONNX Runtime cannot open the model: {error}", where={"file": path.name}
        ) from error
    inputs, outputs = (
        [Port(each.name, each.type, tuple(each.shape or ())) for each in ends]
        for ends in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _open(
    path: str, threads: int, where: dict[str, str], place: Place, *, graphs: bool
) -> onnxruntime.InferenceSession:
    try:
        session = open_session(path, place, threads, graphs=graphs)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise InvalidData(f"ONNX Runtime cannot open the model: {error}", where=where) from error
    if (got := device_of(session)) != place.kind:
        raise DeviceUnavailable(
            f"ONNX Runtime was asked for {place.kind} and took {got}.", where=where
        )
    return session


def _run_values(
    session: onnxruntime.InferenceSession,
    feed: Mapping[str, Values],
    options: onnxruntime.RunOptions,
) -> list[Values]:
    """Run with bfloat16 among the inputs or outputs."""
    given = {name: _value(array) for name, array in feed.items()}
    return [_array(value) for value in session.run_with_ort_values(None, given, options)]


def _value(array: Values) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        bits = np.ascontiguousarray(array).view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _array(value: Any) -> Values:
    if value.element_type() != _BFLOAT16:
        return np.asarray(value.numpy())
    size = value.tensor_size_in_bytes()  # of the tensor, which lies in the CPU's memory
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, ml_dtypes.bfloat16).reshape(value.shape())
