"""The bundle's model.onnx: raw columns in, predictions out, everything else inside.

PyTorch's exporter turns preprocessing, network and head into a core over two matrices, numbers
and category codes; `onnx_graph` puts the raw columns and the labels around it.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid.bundle import MODEL, PARITY, Datatype, Input, Parity, parity_error
from pellucid.errors import TrainingFailed
from pellucid.raw import columns
from pellucid.raw.texts import Tokenizer
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.onnx_graph import surround
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.preprocessing.tabular import numbers_of, texts_of
from pellucid_pipelines.tensors import Target

OPSET = 20
LARGEST = 2**31 - 2**20  # bytes; a protocol buffer ends at 2 GiB
TOLERANCE = 1e-5

_TORCH_TYPES = {
    Datatype.FP64: torch.float64,
    Datatype.UINT8: torch.uint8,
    Datatype.INT64: torch.int64,
    Datatype.BYTES: torch.int64,  # a category's code
}

Arrays = dict[str, np.ndarray]
Translations = Mapping[Callable[..., Any], Callable[..., Any]]


class _Core(nn.Module):
    """The preprocessing's feeds to probabilities (N, K) or values, (N,) or (N, steps ahead)."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, target: Target) -> None:
        super().__init__()
        self.preprocessing = copy.deepcopy(preprocessing)
        self.network = copy.deepcopy(network)
        self.head = target.head()
        self.cpu().eval().requires_grad_(False)

    def forward(self, *feeds: Tensor | None) -> Tensor:
        prediction: Tensor = self.head(self.network(self.preprocessing.dense(*feeds)))
        return prediction


def export_model(
    network: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    path: Path,
    rule: Rule | None = None,
) -> int:
    """Write the ONNX model: one self-contained file, the same bytes for the same weights.

    Inputs, as the manifest has them: the raw columns by their exact names, double or string of
    shape (rows,), or decoded images, padded lists and tokens. Outputs: `label` (rows,) int64 or
    string and `probabilities` (rows, K) float; or `value` float, (rows,) or (rows, steps ahead).
    As ONNX has one name space, an output whose name is a raw column's gets underscores appended;
    their order never changes. Any number of rows, 0 included. The columns of a rule come after the
    others.

    Returns:
        The opset.

    Raises:
        TrainingFailed: the model is larger than an ONNX file can be.
    """
    core = _Core(network, preprocessing, target)
    size = sum(each.nbytes for each in core.state_dict().values())
    if size > LARGEST:
        raise TrainingFailed(
            f"The model has {size:,} bytes of weights; one ONNX file holds at most 2 GiB.",
            where={"path": "model"},
            remedy="Make the network narrower.",
        )
    model = surround(exported(core), preprocessing, target, OPSET, rule=rule)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return OPSET


def measure_parity(
    network: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    table: pa.Table,
    directory: Path,
    rule: Rule | None = None,
) -> Parity:
    """Run ONNX Runtime on the directory's model.onnx against PyTorch, and write parity.npz.

    The rows are those of `table` and, made from them, for each column that may be missing a row
    that misses it, and for each categorical column a row with an unknown category.

    Raises:
        TrainingFailed: they differ by more than 1e-5, or in a label that is no tie.
    """
    inputs = (*preprocessing.inputs, *(rule.columns if rule else ()))
    raw = _with_holes(raw_inputs(table, inputs, preprocessing.tokenizer), inputs)
    prediction = _predicted(_Core(network, preprocessing, target), raw)
    thresholds = None if rule is None else rule.of_raw(raw)
    expected = _named(prediction, target, rule, thresholds)
    given = run_onnx(directory / MODEL, raw)
    compared = "value" if target.task == "regression" else "probabilities"
    error = parity_error(given[compared], expected[compared], compared)
    same = _same_labels(given, expected, target, thresholds)
    if not error <= TOLERANCE or not same:  # also refuses NaN
        raise TrainingFailed(
            f"The exported model differs from PyTorch by {error:.2g} (limit {TOLERANCE:.0e}), "
            "or in its labels.",
            where={"file": MODEL},
            remedy="Please report it, with the plan.",
        )
    arrays = {f"input:{name}": _storable(values) for name, values in raw.items()}
    arrays |= {f"output:{name}": values for name, values in expected.items()}
    with (directory / PARITY).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return Parity(rows=len(prediction), tolerance=TOLERANCE, max_error=error)


def run_onnx(path: Path, feed: Mapping[str, np.ndarray]) -> Arrays:
    """A model's outputs by name (label, probabilities | value) on the CPU.

    `feed`: raw column -> (N,) float64 or strings, or (N, *shape).
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # an input with a default is worth a warning to it
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name.rstrip("_") for output in session.get_outputs()]
    tensors = {name: _loaded(values) for name, values in feed.items()}
    found = [session.run(None, piece) for piece in columns.pieces(tensors)]
    joined = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return dict(zip(names, joined, strict=True))


def raw_inputs(
    table: pa.Table, inputs: tuple[Input, ...], tokenizer: Tokenizer | None = None
) -> Arrays:
    """A table's columns as a model takes them: (N,) float64, strings as objects, (N, *shape).

    A category longer than every known one is cut to where it is still longer: an unknown one.

    Raises:
        InvalidData: an image is missing or damaged.
    """
    return {each.name: _raw(table[each.name], each, tokenizer) for each in inputs}


def _raw(column: pa.ChunkedArray, each: Input, tokenizer: Tokenizer | None) -> np.ndarray:
    if each.shape:
        return columns.read(column.to_pylist(), each.kind, each.shape, tokenizer)
    return _strings(column, each) if each.datatype is Datatype.BYTES else numbers_of(column)


def _predicted(core: _Core, raw: Arrays) -> np.ndarray:
    """What PyTorch gives for raw inputs; an input that has a shape needs no encoding."""
    preprocessing = core.preprocessing
    if all(each.shape for each in preprocessing.inputs):
        encoded = {e.name: torch.from_numpy(raw[e.name]) for e in preprocessing.inputs}
    else:
        encoded = preprocessing.encode(pa.table(raw))
    with torch.no_grad():
        prediction: np.ndarray = core(*preprocessing.stack(encoded)).numpy()
    return prediction


def _strings(column: pa.ChunkedArray, each: Input) -> np.ndarray:
    longest = max(map(len, each.categories), default=0)
    texts = texts_of(column).to_pylist()
    return np.array([text[: longest + 1] for text in texts], dtype=object)


def _with_holes(raw: Arrays, inputs: tuple[Input, ...]) -> Arrays:
    """The rows, then for each column one that misses it, then for each category an unknown one."""
    count = len(next(iter(raw.values())))
    holes = [(each.name, value) for each in inputs if (value := _missing(each)) is not None]
    texts = [each for each in inputs if each.datatype is Datatype.BYTES]
    holes += [(each.name, max(each.categories, key=len, default="") + "?") for each in texts]
    added = np.arange(len(holes)) % count
    rows = {name: np.concatenate([values, values[added]]) for name, values in raw.items()}
    for i, (name, value) in enumerate(holes, start=count):
        rows[name][i] = value
    return {name: _loaded(_storable(values)) for name, values in rows.items()}


def _missing(each: Input) -> Any:
    if each.shape:
        return columns.missing(each.kind, each.shape)
    return "" if each.datatype is Datatype.BYTES else np.nan


def _storable(values: np.ndarray) -> np.ndarray:
    """Strings as numpy's own, which a file holds without pickling."""
    return values.astype(np.str_) if values.dtype == object else values


def _loaded(values: np.ndarray) -> np.ndarray:
    """Strings as objects: what reads numpy's own ends them at their first NUL character."""
    return values.astype(object) if values.dtype.kind == "U" else values


def _named(
    prediction: np.ndarray, target: Target, rule: Rule | None, thresholds: np.ndarray | None
) -> Arrays:
    if target.task == "regression":
        return {"value": prediction}
    found = prediction.argmax(axis=1)
    if rule is not None and thresholds is not None:
        found = rule.labels(prediction, thresholds)
    return {"label": np.array(target.classes)[found], "probabilities": prediction}


def _same_labels(
    given: Arrays, expected: Arrays, target: Target, thresholds: np.ndarray | None
) -> bool:
    if "label" not in expected:
        return True
    probabilities = expected["probabilities"]
    if thresholds is None:
        best = np.sort(probabilities, axis=1)
        tied = best[:, -1] - best[:, -2] <= 2 * TOLERANCE
    else:
        tied = abs(probabilities[:, target.positive] - thresholds) <= TOLERANCE
    return bool(np.all(tied | (given["label"] == expected["label"])))


def exported(
    core: nn.Module,
    options: Sequence[Tensor] = (),
    translations: Translations | None = None,
) -> Any:
    """A core in ONNX, as `torch.onnx` writes it.

    Args:
        core: has a `preprocessing`, whose feeds it takes, then the options.
        options: examples of further inputs; the first axis of each may have any length.
        translations: operators of our own -> what they are in ONNX.
    """
    preprocessing: Any = core.preprocessing
    examples = {
        each.name: torch.zeros(2, *each.shape, dtype=_TORCH_TYPES[each.datatype])
        for each in preprocessing.inputs
    }
    given = (*preprocessing.stack(examples), *options)
    rows = {0: torch.export.Dim.DYNAMIC}
    shapes = (tuple(None if each is None else rows for each in given),)
    return as_onnx(core, given, shapes, translations).model_proto


def as_onnx(
    module: nn.Module,
    given: Sequence[Tensor | None],
    shapes: Any = None,
    translations: Translations | None = None,
) -> Any:
    """What PyTorch's exporter makes of a module and examples of its inputs.

    Args:
        module: in evaluation mode.
        given: its inputs.
        shapes: which of their sizes may differ, as `torch.export` takes it; None: none.
        translations: see `exported`.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision is missing, it says
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        # torch.export of a recurrent layer: its own code, and a list of weights that it rebuilds
        warnings.filterwarnings("ignore", message="_check_is_size", category=FutureWarning)
        warnings.filterwarnings("ignore", message="The tensor attributes", category=UserWarning)
        # Handed the module itself, torch.onnx would trace it twice.
        traced = torch.export.export(module, tuple(given), dynamic_shapes=shapes, strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            custom_translation_table=dict(translations or {}),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns a program"
    return program
