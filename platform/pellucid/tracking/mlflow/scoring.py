"""Scores rows for MLflow's generic interface (pyfunc, `mlflow models serve`).

Every registered model carries a copy of this file, of `pellucid.raw` and of the errors, so it
stands on MLflow, numpy and pandas, and for images on Pillow, for texts on tokenizers. It is there
because MLflow's own ONNX scoring flattens a (rows, classes) output into a column that no longer
fits the rows, and cannot feed a model of one column or a missing string.
"""

import json
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import pandas as pd


class RowModel:
    """A DataFrame of raw columns in; `label` and `probability_<class>`, or `value`, out.

    Images are bytes (or base64 text, or pixels), sequences lists of numbers, texts strings. A
    forecast comes in columns `value_1`, `value_2`, ..., one for each step ahead.
    """

    def __init__(self, session: Any, manifest: dict[str, Any], root: Path) -> None:
        self._session = session
        self._manifest = manifest
        self._tokenizer = _tokenizer(root)

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of answers for each row of `data`."""
        feed = {entry["name"]: self._tensor(data, entry) for entry in self._manifest["inputs"]}
        names = [entry["name"] for entry in self._manifest["outputs"]]  # the graph may rename one
        answers = dict(zip(names, self._session.predict(feed).values(), strict=True))
        probabilities = answers.pop("probabilities", None)
        if probabilities is not None:
            for index, name in enumerate(self._manifest["classes"]):
                answers[f"probability_{name}"] = probabilities[:, index]
        if "value" in answers and answers["value"].ndim == 2:
            steps = answers.pop("value")
            answers |= {f"value_{i}": steps[:, i - 1] for i in range(1, steps.shape[1] + 1)}
        return pd.DataFrame(answers, index=data.index)

    def _tensor(self, data: pd.DataFrame, entry: dict[str, Any]) -> np.ndarray:
        if not entry.get("shape"):
            return _scalars(data[entry["name"]], entry)
        from pellucid.raw.columns import read

        values = data[entry["name"]].tolist()
        return read(values, entry["kind"], tuple(entry["shape"]), self._tokenizer)


def _tokenizer(root: Path) -> Any:
    if not (root / "tokenizer.json").is_file():
        return None
    from pellucid.raw.texts import Tokenizer

    return Tokenizer.load(root / "tokenizer.json")


def _scalars(column: "pd.Series[Any]", entry: dict[str, Any]) -> np.ndarray:
    if entry["datatype"] == "BYTES":
        texts = column.astype(object).where(column.notna(), "").astype(str)
        return np.asarray(texts, dtype=object)
    return np.asarray(pd.to_numeric(column), dtype=np.float64)


def _load_pyfunc(path: str) -> RowModel:
    """Called by MLflow with the path of model.onnx."""
    root = Path(path).parent
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    return RowModel(mlflow.onnx._load_pyfunc(path), manifest, root)
