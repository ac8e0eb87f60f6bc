"""Small real bundles over images, lists of numbers and texts, through the real export."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

from pellucid import plan
from pellucid.bundle import CARD, EXPLANATIONS, Bundle, Manifest
from pellucid.datasets.splits import Parts
from pellucid.schema import Role
from pellucid_pipelines import packing
from pellucid_pipelines.data import Data
from pellucid_pipelines.preprocessing import FITTERS
from pellucid_pipelines.tensors import Target
from support.training import schema_of

ROWS = 40
WORDS = ("good", "bad", "film", "plot", "the", "a", "Ünglaublich")


@dataclass(frozen=True)
class Made:
    """A bundle, the rows that it was made from, and what PyTorch says of them."""

    bundle: Bundle
    table: pa.Table
    expected: np.ndarray  # (N, K) or (N, H)


class Flat(nn.Module):
    """(N, ...) numbers, or tokens, to (N, outputs)."""

    def __init__(self, shape: Sequence[int], outputs: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 4) if vocabulary else None
        width = shape[0] * 4 if vocabulary else int(np.prod(shape))
        self.linear = nn.Linear(width, outputs)
        self.scale = 1 / 255 if len(shape) == 3 else 1.0  # of pixels, in whole numbers or not

    def forward(self, inputs: Tensor) -> Tensor:
        taken = inputs if self.embedding is None else self.embedding(inputs)
        raw: Tensor = self.linear(taken.flatten(1).float() * self.scale)
        return raw


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_table(shape: tuple[int, ...] = (10, 12, 3)) -> pa.Table:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (ROWS, *shape), np.uint8)
    return pa.table(
        {
            "photo": pa.array([png(each.squeeze()) for each in pixels], pa.large_binary()),
            "label": random.choice(["cat", "dog", "owl"], ROWS),
        }
    )


def sequence_table(horizon: int = 0) -> pa.Table:
    random = np.random.default_rng(0)

    def lists() -> pa.Array:
        rows: list[Any] = [random.normal(5, 2, random.integers(0, 7)).tolist() for _ in range(ROWS)]
        rows[3], rows[4] = None, [None, 1.0]
        return pa.array(rows, pa.list_(pa.float64()))

    target = random.normal(50, 9, (ROWS, horizon)).tolist() if horizon else random.normal(size=ROWS)
    return pa.table({"load": lists(), "heat": lists(), "next": target})


def text_table() -> pa.Table:
    random = np.random.default_rng(0)
    texts: list[Any] = [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(ROWS)]
    texts[5] = None
    return pa.table({"review": pa.array(texts), "verdict": random.choice(["no", "yes"], ROWS)})


TABLES = {"image": image_table, "sequence": sequence_table, "text": text_table}


def make_other_bundle(
    root: Path, modality: plan.Modality, *, seed: int = 0, **options: Any
) -> Made:
    """A bundle of a kind of input; its network has random weights."""
    table = TABLES[modality](**options)
    *features, name = table.column_names
    task: Any = "regression" if modality == "sequence" else "classification"
    schema = schema_of(table, {name: Role.TARGET})
    fitted = FITTERS[modality].fit(table, schema.having(Role.FEATURE), plan.Preprocessing())
    target = Target.fit(table[name], name, task, None)
    torch.manual_seed(seed)
    network = Flat(fitted.features.shape, target.outputs, fitted.features.vocabulary).eval()
    every = np.arange(len(table))
    examples = Data(
        table, Parts(every[:20], every[20:30], every[30:]), schema, fitted, target, None
    )
    opset, parity = packing.export(network, examples, root)
    (root / CARD).write_text("# Other\n")
    pq.write_table(table.select(features).slice(0, 3), root / EXPLANATIONS)
    described = a_manifest(modality, task, name, examples)
    bundle = Bundle.seal(root, described.model_copy(update={"opset": opset, "parity": parity}))
    with torch.no_grad():
        expected = target.head()(network(fitted(fitted.encode(table)))).numpy()
    return Made(Bundle.open(bundle.root), table.select(features), expected)


def a_manifest(name: str, task: Any, target: str, examples: Data) -> Manifest:
    classes, positive = examples.target.classes, examples.target.positive
    return Manifest.model_validate(
        {
            "name": name,
            "task": task,
            "target": target,
            "classes": classes,
            "positive_class": None if positive is None else classes[positive],
            "inputs": examples.preprocessing.inputs,
            "outputs": packing._outputs(examples.target),
            "opset": 20,
            "files": {},
            "parity": {"rows": 0, "tolerance": 0, "max_error": 0},
            "metrics": {},
            "data_version": "0" * 64,
            "job_id": "job-1",
            "created": "2026-01-01T00:00:00+00:00",
            "plan": {},
            "environment": {},
        }
    )
