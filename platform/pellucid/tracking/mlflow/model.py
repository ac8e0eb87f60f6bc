"""A bundle as a model directory of MLflow's ONNX flavour."""

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from pellucid import errors, raw
from pellucid.bundle import EXPLANATIONS, PARITY, Bundle, Datatype, Input, Manifest
from pellucid.schema import Kind
from pellucid.tracking.mlflow import scoring

_SCORING_MODULE = "pellucid_scoring"
_EXAMPLE_ROWS = 5
_LIBRARIES = {Kind.IMAGE: "pillow", Kind.TEXT: "tokenizers"}
_COLUMN_TYPES = {
    Datatype.FP64: "double",
    Datatype.FP32: "float",
    Datatype.INT64: "long",
    Datatype.BYTES: "string",
}


@contextmanager
def model_directory(bundle: Bundle, run_id: str, model_id: str) -> Iterator[Path]:
    """The bundle's files with MLflow's beside them; gone at the end of the block.

    The ONNX file is shared: MLflow's `data: model.onnx` and the bundle's are the same bytes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / _SCORING_MODULE
        _carry_scoring(code)
        root = Path(scratch) / "model"
        mlflow.onnx.save_model(
            onnx.load(bundle.model_path),
            str(root),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            signature=_signature(bundle.manifest),
            input_example=_example(bundle),
            pip_requirements=_requirements(bundle.manifest),
            onnx_execution_providers=["CPUExecutionProvider"],  # what `onnxruntime` brings
            code_paths=[str(code)],
            metadata=_metadata(bundle.manifest),
            save_as_external_data=False,
        )
        for file in bundle.root.iterdir():
            if file.is_file():
                shutil.copyfile(file, root / file.name)
        _score_by_rows(root)
        yield root


@contextmanager
def onnx_directory(model: Path, run_id: str, model_id: str) -> Iterator[Path]:
    """An ONNX file that was made elsewhere as MLflow's ONNX flavour; gone at the end of the block.

    Raises:
        InvalidData: it cannot be read, or is no ONNX model.
    """
    try:
        loaded = onnx.load(model)  # with its external data
        onnx.checker.check_model(str(model))
    except Exception as error:  # onnx's and protobuf's errors share no base class
        raise errors.InvalidData(
            f"It is no ONNX model: {error}.", where={"file": str(model)}
        ) from error
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "model"
        mlflow.onnx.save_model(
            loaded,
            str(root),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            pip_requirements=[*_pinned(["mlflow", "onnx"]), "numpy", "onnxruntime", "pandas"],
            onnx_execution_providers=["CPUExecutionProvider"],
        )
        yield root


def _carry_scoring(package: Path) -> None:
    """Write what scoring needs of Pellucid as a package of its own."""
    sources = {"__init__.py": Path(scoring.__file__), "errors.py": Path(errors.__file__)}
    parts = Path(raw.__file__).parent.glob("*.py")
    sources |= {f"raw/{path.name}": path for path in parts}
    for name, source in sources.items():
        text = source.read_text(encoding="utf-8")
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("from pellucid.", f"from {_SCORING_MODULE}."), "utf-8")


def _score_by_rows(root: Path) -> None:
    """Let the generic interface use our scoring module instead of MLflow's."""
    path = root / "MLmodel"
    model = Model.load(str(path))
    model.flavors["python_function"]["loader_module"] = _SCORING_MODULE
    model.save(str(path))


def _signature(manifest: Manifest) -> ModelSignature:
    inputs = [ColSpec(_input_type(entry), entry.name) for entry in manifest.inputs]
    outputs = []
    for output in manifest.outputs:
        kind = _COLUMN_TYPES[output.datatype]
        if output.name == "probabilities":
            outputs += [ColSpec(kind, f"probability_{name}") for name in manifest.classes]
        elif len(output.shape) == 2:
            outputs += [ColSpec(kind, f"value_{i + 1}") for i in range(output.shape[1])]
        else:
            outputs.append(ColSpec(kind, output.name))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _input_type(entry: Input) -> Any:
    match entry.kind:
        case Kind.IMAGE:
            return DataType.binary
        case Kind.SEQUENCE:
            return Array(DataType.double)
        case Kind.TEXT:
            return DataType.string
    return _COLUMN_TYPES[entry.datatype]


def _example(bundle: Bundle) -> pd.DataFrame | None:
    """A few rows of raw columns, as a user sends them."""
    names = [entry.name for entry in bundle.manifest.inputs]
    if any(entry.shape for entry in bundle.manifest.inputs):
        if not (bundle.root / EXPLANATIONS).is_file():
            return None
        rows = pq.read_table(bundle.root / EXPLANATIONS, columns=names).slice(0, 1).to_pylist()
        return pd.DataFrame(rows, columns=names)
    with np.load(bundle.root / PARITY) as parity:
        columns = {
            entry.name: parity[f"input:{entry.name}"][:_EXAMPLE_ROWS]
            for entry in bundle.manifest.inputs
        }
    return pd.DataFrame({name: _column(values) for name, values in columns.items()})


def _column(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "f" else values.astype(str).astype(object)


def _requirements(manifest: Manifest) -> list[str]:
    """What scoring needs, given here so that MLflow does not run the model to find out."""
    kinds = {entry.kind for entry in manifest.inputs}
    names = ["mlflow", "onnx", *(_LIBRARIES[kind] for kind in _LIBRARIES if kind in kinds)]
    return [*_pinned(names), "numpy", "onnxruntime", "pandas"]


def _pinned(names: list[str]) -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return {
        "job_id": manifest.job_id,
        "data_version": manifest.data_version,
        "task": manifest.task,
        "target": manifest.target,
        "opset": manifest.opset,
    }
