"""The bundle: all that training hands to serving, in one directory.

    model.onnx        raw columns in, predictions out; preprocessing inside
    explain.onnx      raw columns in; predictions and their SHAP values out: see `Explanation`
    explain_amortized.onnx   the same by a network that learnt the SHAP values, where a plan asks
    background.parquet       the raw rows that explanations compare to, and their weights
    manifest.json     this module's `Manifest`
    parity.npz        raw rows and the outputs that PyTorch gave for them
    explanations.parquet   held-out rows with their SHAP values
    card.md           the model card
    weights.pt        the network's state, to start from or to look into
    provenance.json   what decided the outcome: `pellucid.provenance`
    tokenizer.json    of a text model: how a string becomes tokens
    profile.json      how the rows were in training: `pellucid.monitoring.profiles.profiling`
    sample.parquet    held-out rows in the form of the prediction log, with their targets
    MLmodel ...       written on registration, so that `mlflow.onnx` loads it as well

A bundle is verified against its manifest before it serves: hashes first, then parity.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pellucid.errors import InvalidData
from pellucid.schema import Kind

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"
MODEL = "model.onnx"
EXPLAINER = "explain.onnx"
AMORTIZED = "explain_amortized.onnx"
BACKGROUND = "background.parquet"
PARITY = "parity.npz"
EXPLANATIONS = "explanations.parquet"
CARD = "card.md"
WEIGHTS = "weights.pt"
TOKENIZER = "tokenizer.json"
PROVENANCE = "provenance.json"
PROFILE = "profile.json"
SAMPLE = "sample.parquet"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Datatype(StrEnum):
    """Tensor datatypes, by their Open Inference Protocol names."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class Input(_Frozen):
    """One raw column, a tensor of shape (rows, *shape).

    numeric, boolean: FP64, NaN is missing, booleans are 0 and 1. datetime: FP64, seconds since
    1970-01-01 UTC, NaN is missing. categorical: BYTES (UTF-8), "" is missing. sequence: FP64
    (steps,), NaN is missing and fills up after the last step. image: UINT8 (height, width,
    channels), or (frames, height, width, channels). text: INT64 (tokens,), 0 fills up. tensor: an
    array as a model that was made elsewhere takes it; -1 is an axis of any length.

    Images and texts are decoded before the graph, by `pellucid.raw`, which also takes the arrays.
    """

    name: str
    kind: Kind
    datatype: Datatype
    shape: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()  # known ones; any other falls into the unknown bucket
    edges: tuple[float, ...] = ()  # of a sensitive number or time: where its groups end

    @classmethod
    def of(
        cls, name: str, kind: Kind, categories: tuple[str, ...] = (), shape: tuple[int, ...] = ()
    ) -> Self:
        """The input that carries a column of this kind."""
        datatype = _DATATYPES.get(kind, Datatype.FP64)
        return cls(name=name, kind=kind, datatype=datatype, shape=shape, categories=categories)

    @property
    def scalar(self) -> bool:
        """Whether a row holds one number or one string."""
        return not self.shape and self.kind is not Kind.TENSOR


_DATATYPES = {
    Kind.CATEGORICAL: Datatype.BYTES,
    Kind.IMAGE: Datatype.UINT8,
    Kind.TEXT: Datatype.INT64,
}


class Output(_Frozen):
    """One output tensor; a shape of -1 is the number of rows."""

    name: str  # label, probabilities | value
    datatype: Datatype
    shape: tuple[int, ...]


class Parity(_Frozen):
    """How far ONNX Runtime is from PyTorch on the parity rows, as `parity_error` measures it."""

    rows: int
    tolerance: float
    max_error: float


class ColumnReference(_Frozen):
    """What may become of a column in a counterfactual, and in what steps.

    quantiles: of the training rows, ascending; of numbers, booleans and times. whole: only whole
    numbers occurred. mad: mean absolute deviation from the median, the unit of a change.
    categories: those that occurred, the most frequent first.
    """

    change: Literal["free", "never", "increase", "decrease"] = "free"
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, ...] = ()
    whole: bool = False
    mad: float = 0.0
    categories: tuple[str, ...] = ()


class Explanation(_Frozen):
    """What explain.onnx gives, and how good it is.

    Its outputs, by position: those of model.onnx, then `explained` (rows, k), `shap` (rows,
    columns, k), `base` (rows, k), `gap` (rows, k): |base + sum of shap - explained|; of images,
    sequences and texts also `places` (rows, *places). There k is 1, the chosen output; of tables
    it is the number of outputs. Its inputs are the raw columns, and two that have defaults:
    `explain/chosen` int64 (1,) or (rows,): the output, -1 the predicted one; not for tables.
    `explain/shares` float (S,): points in (0, 1) on the path to a background row; gradients only.
    """

    method: Literal["deep", "gradients", "exact"]
    columns: tuple[str, ...]
    outputs: tuple[str, ...]
    unit: str  # of explained, shap and base
    base: tuple[float, ...]  # for each output
    scale: tuple[float, ...]  # mean |explained - base| of held-out rows, for each output
    background: int  # rows compared to
    tolerance: float  # gaps, relative to `scale`, above it are failures
    steps: int = 0  # shares by default
    batch_rows: int = 64  # of one run with these shares, whose numbers then fit a cache
    quality: dict[str, float] = {}
    amortized: dict[str, float] | None = None  # errors of explain_amortized.onnx
    reference: dict[str, ColumnReference] = {}


class Decision(_Frozen):
    """How `label` comes of two probabilities: the positive class's, from the row's threshold on.

    columns: inputs that tell the row's group; nothing but the label depends on them. thresholds:
    of every combination of their codes, see `pellucid.decisions`; `overall` where a combination
    has none of its own. above 1: never.
    """

    columns: tuple[str, ...]
    thresholds: tuple[float, ...]
    overall: float


class Manifest(_Frozen):
    """What a bundle is: its inputs and outputs, where it came from, and how to check it."""

    format: Literal[1] = 1
    name: str
    task: Literal["classification", "regression", "other"]  # other: made elsewhere, outputs as is
    target: str
    classes: tuple[int | str, ...] = ()
    positive_class: int | str | None = None  # binary only
    inputs: tuple[Input, ...]
    sensitive: tuple[Input, ...] = ()  # columns that are recorded, and never reach the model
    outputs: tuple[Output, ...]
    opset: int  # 0: not known, of a model that was made elsewhere
    files: dict[str, str]  # file name -> SHA-256
    parity: Parity
    metrics: dict[str, float]
    explanation: Explanation | None = None
    decision: Decision | None = None  # None: the likeliest class
    data_version: str  # SHA-256 of the data set's content
    job_id: str
    created: str  # ISO 8601, UTC
    plan: dict[str, Any]  # resolved
    environment: dict[str, str]  # library -> version

    @property
    def features(self) -> tuple[Input, ...]:
        """The inputs of the network: without those that only a decision takes."""
        taken = self.decision.columns if self.decision else ()
        return tuple(each for each in self.inputs if each.name not in taken)


def parity_error(given: "np.ndarray", expected: "np.ndarray", output: str) -> float:
    """The largest difference: of `probabilities` absolute, of a `value` relative.

    Values are measured against the largest of them: in the target's own units a value near 0
    carries the rounding of the whole range. Infinite where the shapes differ.
    """
    if given.shape != expected.shape:
        return float("inf")
    largest = abs(expected).max(initial=0.0) if output == "value" else 1.0
    return float(abs(given - expected).max(initial=0.0) / (largest or 1.0))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bundle:
    """A bundle's directory and its manifest."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @classmethod
    def open(cls, root: Path) -> Self:
        """The bundle in a directory, its hashes verified.

        Raises:
            InvalidData: the manifest is missing or wrong, or a file differs from its hash.
        """
        path = root / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidData(
                f"The bundle has no valid manifest: {error}.", where={"file": str(path)}
            ) from error
        for name, digest in manifest.files.items():
            file = root / name
            if not file.is_file() or sha256_of(file) != digest:
                raise InvalidData(
                    f"{name} is missing or differs from its hash in the manifest.",
                    where={"file": str(file)},
                    remedy="Download the version again, or train it again.",
                )
        return cls(root, manifest)

    @classmethod
    def seal(cls, root: Path, manifest: Manifest) -> Self:
        """Write the manifest, with the hash of every file that lies in the directory now."""
        files = {
            file.relative_to(root).as_posix(): sha256_of(file)
            for file in sorted(root.rglob("*"))
            if file.is_file() and file != root / MANIFEST
        }
        manifest = manifest.model_copy(update={"files": files})
        text = json.dumps(manifest.model_dump(mode="json"), indent=2)
        (root / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return cls(root, manifest)

    @property
    def model_path(self) -> Path:
        """The ONNX model."""
        return self.root / MODEL

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.root / CARD).read_text(encoding="utf-8")
