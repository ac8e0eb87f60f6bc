"""Scores rows for MLflow's generic interface (pyfunc, `mlflow models serve`).

Every registered model carries a copy of this file, so it stands on MLflow, numpy and pandas
alone. It is there because MLflow's own ONNX scoring flattens a (rows, classes) output into a
column that no longer fits the rows, and cannot feed a model of one column or a missing string.
"""

import json
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import pandas as pd


class RowModel:
    """A DataFrame of raw columns in; `label` and `probability_<class>`, or `value`, out."""

    def __init__(self, session: Any, manifest: dict[str, Any]) -> None:
        self._session = session
        self._manifest = manifest

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of answers for each row of `data`."""
        feed = {entry["name"]: _tensor(data, entry) for entry in self._manifest["inputs"]}
        names = [entry["name"] for entry in self._manifest["outputs"]]  # the graph may rename one
        answers = dict(zip(names, self._session.predict(feed).values(), strict=True))
        probabilities = answers.pop("probabilities", None)
        if probabilities is not None:
            for index, name in enumerate(self._manifest["classes"]):
                answers[f"probability_{name}"] = probabilities[:, index]
        return pd.DataFrame(answers, index=data.index)


def _tensor(data: pd.DataFrame, entry: dict[str, Any]) -> np.ndarray:
    column = data[entry["name"]]
    if entry["datatype"] == "BYTES":
        texts = column.astype(object).where(column.notna(), "").astype(str)
        return np.asarray(texts, dtype=object)
    return np.asarray(pd.to_numeric(column), dtype=np.float64)


def _load_pyfunc(path: str) -> RowModel:
    """Called by MLflow with the path of model.onnx."""
    manifest = json.loads((Path(path).parent / "manifest.json").read_text(encoding="utf-8"))
    return RowModel(mlflow.onnx._load_pyfunc(path), manifest)
