"""Small learnable tables of every kind of input, and their preprocessing."""

import io
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from pellucid import plan
from pellucid.schema import Column, StorageType
from pellucid_pipelines import preprocessing
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target

ROWS = 64
TASKS = ("binary", "multiclass", "regression")
_WORDS = (("poor", "dull", "never"), ("plain", "fair", "some"), ("great", "bright", "always"))


class Example(NamedTuple):
    """A table, what was fitted on it, and its rows as networks take them."""

    table: pa.Table
    preprocessing: Preprocessing
    target: Target
    rows: Rows

    @property
    def features(self) -> Features:
        return self.preprocessing.features.with_sample(self.rows.inputs)


def example(modality: plan.Modality, task: str, rows: int = ROWS) -> Example:
    """A table whose one hidden number decides inputs and target."""
    generator = np.random.default_rng(7)
    hidden = generator.permutation(np.linspace(-1, 1, rows))
    features, columns = _INPUTS[modality](hidden, generator)
    table = pa.table(features | {"y": _target(hidden, task)})
    fitted = preprocessing.fit(table, columns, _SPEC, modality)
    kind = "regression" if task == "regression" else "classification"
    target = Target.fit(table["y"], "y", kind, None)
    with torch.no_grad():
        inputs = fitted(fitted.encode(table))
    return Example(table, fitted, target, Rows(inputs, target.encode(table["y"])))


_SPEC = plan.Preprocessing(text=plan.Texts(vocabulary=300, length=8))


def _target(hidden: np.ndarray, task: str) -> pa.Array:
    if task == "regression":
        return pa.array(10 * hidden + 3)
    return pa.array(np.digitize(hidden, [0] if task == "binary" else [-1 / 3, 1 / 3]))


def _tabular(hidden, generator):
    features = {
        "number": pa.array(hidden + 0.1 * generator.normal(size=len(hidden))),
        "other": pa.array(generator.normal(size=len(hidden))),
        "word": pa.array([_WORDS[int(3 * (h + 1) / 2.001)][0] for h in hidden]),
        "flag": pa.array(hidden > 0.5),
    }
    kinds = (StorageType.FLOAT64, StorageType.FLOAT64, StorageType.STRING, StorageType.BOOL)
    return features, [Column(name=n, type=k) for n, k in zip(features, kinds, strict=True)]


def _image(hidden, generator):
    def png(share):
        pixels = generator.integers(0, 60, size=(12, 12))
        pixels[:, : round(6 + 6 * share)] += 150
        content = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
        return content.getvalue()

    cells = pa.array([png(share) for share in hidden], pa.large_binary())
    return {"photo": cells}, [Column(name="photo", type=StorageType.BINARY)]


def _sequence(hidden, generator):
    lengths = generator.integers(3, 9, size=len(hidden))
    lists = [h + 0.2 * generator.normal(size=n) for h, n in zip(hidden, lengths, strict=True)]
    others = [generator.normal(size=n) for n in lengths]
    features = {"a": pa.array(map(list, lists)), "b": pa.array(map(list, others))}
    return features, [Column(name=name, type=StorageType.LIST) for name in features]


def _text(hidden, generator):
    def sentence(share):
        words = _WORDS[int(3 * (share + 1) / 2.001)]
        return " ".join(generator.choice(words, size=generator.integers(2, 6)))

    return {"text": pa.array([sentence(share) for share in hidden])}, [
        Column(name="text", type=StorageType.STRING)
    ]


_INPUTS = {"tabular": _tabular, "image": _image, "sequence": _sequence, "text": _text}
