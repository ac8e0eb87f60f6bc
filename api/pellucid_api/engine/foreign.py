"""Models that were made elsewhere: any ONNX file becomes a bundle, its manifest read off the graph.

The first axis of every input and output is the rows. A graph whose rows are fixed at one is run row
by row; fixed at another number it is refused.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from pellucid.bundle import MODEL, Bundle, Input, Manifest, Output, Parity
from pellucid.errors import InvalidData
from pellucid.schema import Kind
from pellucid_api.engine.datatypes import OF_ONNX
from pellucid_api.engine.model import Port, ports

_MLMODEL = "MLmodel"  # of MLflow


def adopt(root: Path, name: str) -> Bundle:
    """Write the manifest of a directory that holds an ONNX model.

    Args:
        root: holds an `MLmodel` with an `onnx` flavour, or one ONNX file. External data stay where
            they are, beside it.
        name: of the model.

    Raises:
        InvalidData: there is no ONNX model, or one whose rows cannot be batched.
    """
    where = {"model": name}
    path = _into_place(_graph(root, where), root)
    inputs, outputs = ports(path)
    if not inputs:
        raise InvalidData("The ONNX model takes no input.", where=where)
    manifest = Manifest(
        name=name,
        task="other",
        target="",
        inputs=tuple(_input(port, where) for port in inputs),
        outputs=tuple(_output(port, where) for port in outputs),
        opset=0,
        files={},
        parity=Parity(rows=0, tolerance=0.0, max_error=0.0),
        metrics={},
        data_version="",
        job_id="",
        created=datetime.now(UTC).isoformat(),
        plan={},
        environment={},
    )
    return Bundle.seal(root, manifest)


def _graph(root: Path, where: dict[str, Any]) -> Path:
    """The ONNX file."""
    if (root / _MLMODEL).is_file():
        path = root / _flavour(root / _MLMODEL, where)
        inside = path.resolve().is_relative_to(root.resolve())
        found = [path] if inside and path.is_file() else []
    else:
        found = list(root.glob("*.onnx"))
    if len(found) != 1:
        raise InvalidData(
            "The version holds neither a bundle of Pellucid's nor one ONNX model.",
            where=where,
            remedy="Log it with mlflow.onnx.log_model, or `pellucid models import FILE.onnx`.",
        )
    return found[0]


def _flavour(path: Path, where: dict[str, Any]) -> str:
    try:
        flavours = yaml.safe_load(path.read_bytes())["flavors"]
        names = ", ".join(flavours)
        if "onnx" in flavours:
            return str(flavours["onnx"].get("data", MODEL))
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise InvalidData(f"Its MLmodel file cannot be read: {error}.", where=where) from error
    raise InvalidData(
        f"It is a model of MLflow's flavours {names}; ONNX models are served here.",
        where=where,
        remedy="Convert it to ONNX (torch.onnx, skl2onnx, tf2onnx), and log it with "
        "mlflow.onnx.log_model.",
    )


def _into_place(path: Path, root: Path) -> Path:
    """The file as `model.onnx` in the root, with what lay beside it."""
    if path.parent != root:
        for beside in path.parent.iterdir():
            if not (root / beside.name).exists():
                beside.rename(root / beside.name)
        path = root / path.name
    return path.rename(root / MODEL)


def _input(port: Port, where: dict[str, Any]) -> Input:
    _require(port, "input", where)
    rows, *shape = port.shape
    if isinstance(rows, int) and rows > 1:
        raise InvalidData(
            f"The first axis of the input {port.name!r} is fixed at {rows}: requests of other "
            "numbers of rows could not be run.",
            where=where,
            remedy="Export with a dynamic batch axis (`dynamic_axes` or `dynamic_shapes` in "
            "torch.onnx.export).",
        )
    return Input(name=port.name, kind=Kind.TENSOR, datatype=OF_ONNX[port.type], shape=_sizes(shape))


def _output(port: Port, where: dict[str, Any]) -> Output:
    _require(port, "output", where)
    return Output(
        name=port.name, datatype=OF_ONNX[port.type], shape=(-1, *_sizes(list(port.shape[1:])))
    )


def _require(port: Port, end: str, where: dict[str, Any]) -> None:
    if port.type not in OF_ONNX:
        zipped = "; for skl2onnx: options={'zipmap': False}" if "map" in port.type else ""
        raise InvalidData(
            f"The {end} {port.name!r} is {port.type}, which is no tensor that is served here.",
            where=where,
            remedy=f"Export with tensors of numbers, booleans or strings{zipped}.",
        )
    if not port.shape and end == "input":
        raise InvalidData(
            f"The input {port.name!r} has no axis for the rows.",
            where=where,
            remedy="Export with a batch axis, the first one.",
        )


def _sizes(axes: list[int | str | None]) -> tuple[int, ...]:
    """-1 for what is free."""
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in axes)
