"""What is explained: networks that are trained here, and their bundles."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import torch
from images import digits as digit_images
from images import png
from inference import models
from runs import Fitted, fitted
from sequences import digits as digit_sequences
from tabular import Task, bundled, tasks
from torch import Tensor

from pellucid import bundle
from pellucid.bundle import Bundle
from pellucid.schema import Role
from pellucid_pipelines import assessment, packing
from pellucid_pipelines.explain import Explained, compared, explain, for_serving
from pellucid_pipelines.explain.attributions import Attribution
from pellucid_pipelines.export import raw_inputs

Feed = dict[str, np.ndarray]
Content = dict[str, object]
QUICK: Content = {"diagnostics": False, "device": "cpu"}


@dataclass(frozen=True)
class Data:
    """A table and how its columns are taken."""

    table: pa.Table
    roles: dict[str, Role]
    plan: Content = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """A trained network and its sealed bundle."""

    fitted: Fitted
    explained: Explained
    bundle: Bundle
    background: Tensor  # (B, *shape), as the network takes it
    weights: Tensor  # (B,)

    @property
    def attribution(self) -> Attribution:
        """What gave the values, in PyTorch."""
        assert self.explained.attribution is not None
        return self.explained.attribution

    @property
    def told(self) -> bundle.Explanation:
        """What the manifest says of its explanations."""
        assert self.bundle.manifest.explanation is not None
        return self.bundle.manifest.explanation

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """One of its graphs, on one thread."""
        return models.session(self.bundle.root / name)

    def feed(self, rows: pa.Table) -> Feed:
        """Raw rows as its graphs take them."""
        preprocessing = self.fitted.examples.preprocessing
        return raw_inputs(rows, preprocessing.inputs, preprocessing.tokenizer)

    def dense(self, rows: pa.Table) -> Tensor:
        """Raw rows as its network takes them."""
        preprocessing = self.fitted.examples.preprocessing
        with torch.no_grad():
            found: Tensor = preprocessing(preprocessing.encode(rows))
        return found


@contextmanager
def packed(data: Data, content: Content, epochs: int) -> Iterator[Packed]:
    """Train a plan for some epochs; its bundle lies in a directory that is removed in the end."""
    training = {**QUICK, "epochs": epochs}
    found = fitted(data.table, data.roles, {**data.plan, **content, "training": training})
    with tempfile.TemporaryDirectory() as directory:
        yield pack(found, Path(directory))


def pack(found: Fitted, directory: Path) -> Packed:
    """Explain a network and write its bundle, as the stages of a training do."""
    spec, examples, seed = found.spec, found.examples, found.spec.training.seed
    background, weights = compared(examples, spec.explanation, seed)
    explained = explain(
        found.network,
        examples.preprocessing,
        examples.target,
        background,
        examples.sample(examples.parts.test, spec.explanation.rows, seed),
        spec.explanation,
        seed,
        weights,
    )
    opset, parity = packing.export(found.network, examples, directory)
    told = for_serving(found.network, examples, explained, background, weights, spec, directory)
    assessed = assessment.assess(found.network, examples, spec)
    manifest = packing.describe(found.request, spec, examples, assessed, opset, parity, told)
    sealed = Bundle.seal(directory, manifest)
    found.network.eval().requires_grad_(False)
    dense = examples.preprocessing(examples.preprocessing.encode(background))
    return Packed(found, explained, sealed, dense, torch.from_numpy(weights))


def tumours(columns: int = 30) -> Data:
    """569 tumours by 30 numbers, malignant or not (Street et al., 1993)."""
    from sklearn.datasets import load_breast_cancer

    table = bundled(load_breast_cancer, "breast cancer", "accuracy").table
    names = table.column_names[:columns]
    return _classes(table.select([*names, "target"]), "target")


def credit() -> Data | None:
    """1,000 applications for credit (Hofmann, 1994); None if they are not at hand."""
    found: dict[str, Task] = {name: load() for name, load in tasks().items() if "german" in name}
    return _classes(found["german credit"].table, "credit") if found else None


def digits() -> Data:
    """1,797 images of 8 x 8 pixels."""
    task = digit_images()
    files = pa.array([png(each) for each in task.images], pa.large_binary())
    labels = pa.array(task.labels.astype(np.int64))
    return _classes(pa.table({"image": files, "digit": labels}), "digit")


def read_digits(directory: Path) -> Data | None:
    """MNIST's digits row by row, 28 steps of 28 columns; None if they are not at hand."""
    if not (directory / "mnist_t10k_images.idx3.gz").exists():
        return None
    table, _ = digit_sequences(directory)
    return _classes(table.slice(0, 3000), "digit")


def _classes(table: pa.Table, target: str) -> Data:
    return Data(table, {target: Role.TARGET}, {"task": "classification"})
