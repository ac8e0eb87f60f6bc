"""A session on a GPU: batches of few sizes, in memory that is bound once, replayed as CUDA graphs.

Rows are padded to a power of two, and the answers cut. So the shapes that a session meets are few:
cuDNN looks for its algorithms once for each, memory is reused, and a batch of a known shape is one
launch of a captured graph instead of one per operator.

Sources: ONNX Runtime's documentation of IO binding and of the CUDA execution provider.
"""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import onnxruntime
from onnxruntime import OrtDeviceMemoryType, OrtValue

from pellucid.bundle import Datatype, Output
from pellucid_api.engine import pinned
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.engine.devices import Place
from pellucid_api.engine.lane import Lane
from pellucid_api.engine.values import Values

_PIECE = 2**24  # bytes of a run's inputs; a network needs up to some hundred times that
_SPLIT = 64  # rows; padding fewer costs nothing
_FRAMES = 32  # shapes whose memory is kept

logger = logging.getLogger(__name__)


class Open(Protocol):
    """Opens the model's session at a place."""

    def __call__(self, place: Place, /, *, graphs: bool) -> onnxruntime.InferenceSession:
        """With CUDA graphs or without."""


def padded(rows: int) -> int:
    """The size of batch for so many rows: the next power of two."""
    return 1 << (rows - 1).bit_length()


def most_rows(feed: Mapping[str, Values]) -> int:
    """The largest size of batch for such rows."""
    row = sum(array[:1].nbytes for array in feed.values())
    return 1 << (max(1, _PIECE // max(1, row)).bit_length() - 1)


def pieces(rows: int, most: int) -> Iterator[slice]:
    """Cut rows into runs, so that not much more than a quarter of a large one is padding."""
    start = 0
    while start < rows:
        count = min(rows - start, most)
        size = padded(count)
        if count > _SPLIT and size - count > count // 4:
            count = size // 2
        yield slice(start, start + count)
        start += count


class Bound:
    """A session in a thread of its own, since CUDA graphs belong to the thread that captured them.

    Args:
        open_session: opens it, in that thread.
        place: of this session.
        outputs: of the model, in the graph's order.
        graphs: try CUDA graphs; a model that has none runs without, which is logged.

    Raises:
        Exception: as ONNX Runtime does when it cannot open the model.
    """

    def __init__(
        self, open_session: Open, place: Place, outputs: Sequence[Output], *, graphs: bool = True
    ) -> None:
        self.place = place
        self._open, self._outputs = open_session, outputs
        self._frames: OrderedDict[tuple[object, ...], _Frame] = OrderedDict()
        self._numbers = itertools.count(1)  # of frames, and so of graphs
        self._options = onnxruntime.RunOptions()  # of the run under way
        self._lane = Lane(f"session-{place.device}")
        self.graphs = False
        self.session = self._lane.submit(self._start, graphs and place.kind == "cuda").result()
        # ONNX Runtime binds no strings as inputs; outputs may be strings.
        self._bindable = all(each.type != "tensor(string)" for each in self.session.get_inputs())

    def submit(self, feed: Mapping[str, Values]) -> "Future[list[Values]]":
        """Run rows in turn: arrays (rows, *shape) by input, to one (rows, ...) per output."""
        return self._lane.submit(self._run, feed)

    def stop(self) -> None:
        """Let the run under way end with an error; a graph that is being replayed ends first."""
        self._options.terminate = True

    def _start(self, graphs: bool) -> onnxruntime.InferenceSession:
        if graphs:
            try:
                session = self._open(self.place, graphs=True)
            except Exception as error:  # ONNX Runtime's errors share no base class
                logger.info("no CUDA graphs on %s: %s", self.place.device, error)
            else:
                reason = _obstacle_to_graphs(session, self._outputs)
                if not reason:
                    self.graphs = True
                    return session
                logger.info("no CUDA graphs on %s: %s", self.place.device, reason)
                del session  # its memory is free before it is opened again
        return self._open(self.place, graphs=False)

    def _run(self, feed: Mapping[str, Values]) -> list[Values]:
        rows = len(next(iter(feed.values())))
        found = [
            self._piece({name: array[piece] for name, array in feed.items()})
            for piece in pieces(rows, most_rows(feed))
        ]
        if len(found) == 1:
            return found[0]
        return [np.concatenate(each) for each in zip(*found, strict=True)]

    def _piece(self, feed: Mapping[str, Values]) -> list[Values]:
        if not self._bindable:
            return self._unbound(feed)
        rows = len(next(iter(feed.values())))
        key = (padded(rows), *(array.shape[1:] for array in feed.values()))
        frame = self._frames.get(key)
        if frame is not None:
            self._frames.move_to_end(key)
            return self._in(frame, feed, rows)
        try:
            frame = self._frame(feed)
            found = self._in(frame, feed, rows)
        except Exception as error:  # see above
            if not self.graphs or self._options.terminate:
                raise
            logger.warning("no CUDA graphs on %s: %s", self.place.device, error)
            del frame
            self._without_graphs()
            frame = self._frame(feed)
            found = self._in(frame, feed, rows)
        self._frames[key] = frame
        if len(self._frames) > _FRAMES:
            self._frames.popitem(last=False)
        return found

    def _without_graphs(self) -> None:
        """A failed capture may leave the session's stream unusable: open another."""
        self.graphs = False
        self._frames.clear()
        self.session = self._open(self.place, graphs=False)

    def _frame(self, feed: Mapping[str, Values]) -> "_Frame":
        return _Frame(self.session, self.place, feed, self._outputs, next(self._numbers))

    def _in(self, frame: "_Frame", feed: Mapping[str, Values], rows: int) -> list[Values]:
        self._options = frame.options
        self._options.terminate = False
        return frame.run(feed, rows)

    def _unbound(self, feed: Mapping[str, Values]) -> list[Values]:
        rows = len(next(iter(feed.values())))
        more = padded(rows) - rows
        self._options.terminate = False
        whole = {name: _longer(array, more) for name, array in feed.items()}
        return [found[:rows] for found in self.session.run(None, whole, self._options)]


class _Frame:
    """Memory for batches of one shape, bound to a session.

    Args:
        session: without strings among its inputs.
        place: of the session.
        feed: some rows of the shape.
        outputs: of the model, in the graph's order.
        number: of the CUDA graph that is captured here.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        place: Place,
        feed: Mapping[str, Values],
        outputs: Sequence[Output],
        number: int,
    ) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.add_run_config_entry("gpu_graph_id", str(number))
        self._session, self._binding, self._place = session, session.io_binding(), place
        size = padded(len(next(iter(feed.values()))))
        self._inputs: list[tuple[str, Values, OrtValue | None]] = []
        for port, memory in zip(
            session.get_inputs(), session.get_input_memory_infos(), strict=True
        ):
            array = feed[port.name]
            self._bind_input(port.name, (size, *array.shape[1:]), array.dtype, _on_gpu(memory))
        self._fixed: list[bool] = []
        self._rebound: list[tuple[str, bool]] = []
        for port, memory, output in zip(
            session.get_outputs(), session.get_output_memory_infos(), outputs, strict=True
        ):
            self._bind_output(port.name, size, output, _on_gpu(memory))

    def run(self, feed: Mapping[str, Values], rows: int) -> list[Values]:
        """Copy the rows in, run, and copy the answers out."""
        for name, host, value in self._inputs:
            array = feed[name]
            host[:rows] = array
            host[rows:] = array[-1]  # what fails here has failed as a row already
            if value is not None:
                value.update_inplace(host)  # to the GPU; it has arrived when this returns
        for name, on_gpu in self._rebound:
            self._binding.bind_output(name, *self._device(on_gpu))
        self._session.run_with_iobinding(self._binding, self.options)
        found = [value.numpy()[:rows] for value in self._binding.get_outputs()]
        return [
            each.copy() if fixed else each  # the next run writes to the same memory
            for each, fixed in zip(found, self._fixed, strict=True)
        ]

    def _device(self, on_gpu: bool) -> tuple[str, int]:
        """As ONNX Runtime names it; TensorRT uses CUDA's memory."""
        return ("cuda", self._place.number) if on_gpu else ("cpu", 0)

    def _bind_input(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], on_gpu: bool
    ) -> None:
        if on_gpu:
            host = pinned.empty(shape, dtype)
            value = OrtValue.ortvalue_from_shape_and_type(shape, dtype, *self._device(on_gpu))
            self._inputs.append((name, host, value))
        else:
            host = np.empty(shape, dtype)
            value = OrtValue.ortvalue_from_numpy(host)  # over the same memory
            self._inputs.append((name, host, None))
        self._binding.bind_ortvalue_input(name, value)

    def _bind_output(self, name: str, size: int, output: Output, on_gpu: bool) -> None:
        """To memory of its own on the GPU, where the shape is known; else ONNX Runtime makes it."""
        fixed = on_gpu and _known(output)
        self._fixed.append(fixed)
        if not fixed:
            self._rebound.append((name, on_gpu))
            self._binding.bind_output(name, *self._device(on_gpu))
            return
        shape = (size, *output.shape[1:])
        value = OrtValue.ortvalue_from_shape_and_type(
            shape, DTYPES[output.datatype], *self._device(on_gpu)
        )
        self._binding.bind_ortvalue_output(name, value)


def _known(output: Output) -> bool:
    """Whether the shape of its rows is."""
    return -1 not in output.shape[1:] and output.datatype is not Datatype.BYTES


def _on_gpu(memory: onnxruntime.OrtMemoryInfo) -> bool:
    """Whether an input is read, or an output written, on the GPU."""
    own = memory.device_mem_type == OrtDeviceMemoryType.DEFAULT  # not what it shares with the CPU
    return bool(own and memory.name != "Cpu")


def _obstacle_to_graphs(session: onnxruntime.InferenceSession, outputs: Sequence[Output]) -> str:
    """Why a graph that ONNX Runtime would capture cannot be replayed here; empty if it can."""
    memories = [*session.get_input_memory_infos(), *session.get_output_memory_infos()]
    if not all(map(_on_gpu, memories)):
        return "an input or output is not on the GPU"
    free = any(not isinstance(s, int) for i in session.get_inputs() for s in i.shape[1:])
    if free or not all(map(_known, outputs)):
        return "rows are not of one shape"
    return ""


def _longer(array: Values, more: int) -> Values:
    """With its last row repeated."""
    return np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) if more else array
