"""Small real bundles: a logistic model over `amount` (number) and `purpose` (string)."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper

from pellucid.bundle import Bundle, Datatype, Input, Manifest, Output, Parity
from pellucid.schema import Kind

ROWS = 20


def make_bundle(
    root: Path,
    *,
    name: str = "credit",
    job_id: str = "job-1",
    metrics: dict[str, float] | None = None,
    weight: float = 1.0,
    categorical: bool = True,
) -> Bundle:
    """A sealed bundle whose second class has logit `weight * (amount + (purpose is "car"))`.

    Missing amounts count as 0. Classes are "bad" and "good".
    """
    root.mkdir(parents=True)
    onnx.save(_graph(weight, categorical), root / "model.onnx")
    feed = {"amount": np.linspace(-2, 2, ROWS)}
    inputs = [Input.of("amount", Kind.NUMERIC)]
    if categorical:
        feed["purpose"] = np.array(["car", "", "boat", "car"] * (ROWS // 4))
        inputs.append(Input.of("purpose", Kind.CATEGORICAL, ("car",)))
    label, probabilities = run_model(root / "model.onnx", feed)
    np.savez(
        root / "parity.npz",
        **{f"input:{key}": value for key, value in feed.items()},
        **{"output:label": label.astype(str), "output:probabilities": probabilities},
    )
    table = pa.table({**feed, "shap_amount": feed["amount"] * weight, "base": np.zeros(ROWS)})
    pq.write_table(table, root / "explanations.parquet")
    (root / "card.md").write_text(f"# {name}\n\nA small model.\n", encoding="utf-8")
    return Bundle.seal(root, _manifest(name, job_id, tuple(inputs), metrics or {"roc_auc": 0.8}))


def run_model(path: Path, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities from ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    columns = {k: v.astype(object) if v.dtype.kind == "U" else v for k, v in feed.items()}
    label, probabilities = session.run(["label", "probabilities"], columns)
    return np.asarray(label), np.asarray(probabilities)


def _manifest(
    name: str, job_id: str, inputs: tuple[Input, ...], metrics: dict[str, float]
) -> Manifest:
    return Manifest(
        name=name,
        task="classification",
        target="outcome",
        classes=("bad", "good"),
        positive_class="good",
        inputs=inputs,
        outputs=(
            Output(name="label", datatype=Datatype.BYTES, shape=(-1,)),
            Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, 2)),
        ),
        opset=20,
        files={},
        parity=Parity(rows=ROWS, tolerance=1e-5, max_error=0.0),
        metrics=metrics,
        data_version="ab" * 32,
        job_id=job_id,
        created="2026-01-01T00:00:00+00:00",
        plan={"model": {"widths": [8, 8]}},
        environment={"onnxruntime": onnxruntime.__version__},
    )


def _graph(weight: float, categorical: bool) -> onnx.ModelProto:
    def constant(name: str, kind: int, values: list[float]) -> onnx.TensorProto:
        return helper.make_tensor(name, kind, [len(values)], values)

    nodes = [
        helper.make_node("IsNaN", ["amount"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "amount"], ["known"]),
        helper.make_node("Cast", ["known"], ["number"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info("amount", TensorProto.DOUBLE, ["rows"])]
    score = "number"
    if categorical:
        inputs.append(helper.make_tensor_value_info("purpose", TensorProto.STRING, ["rows"]))
        nodes += [
            helper.make_node(
                "LabelEncoder",
                ["purpose"],
                ["is_car"],
                domain="ai.onnx.ml",
                keys_strings=["car"],
                values_floats=[1.0],
                default_float=0.0,
            ),
            helper.make_node("Add", ["number", "is_car"], ["sum"]),
        ]
        score = "sum"
    nodes += [
        helper.make_node("Mul", [score, "weight"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["good"]),
        helper.make_node("Sub", ["one", "good"], ["bad"]),
        helper.make_node("Unsqueeze", ["good", "axis"], ["good_column"]),
        helper.make_node("Unsqueeze", ["bad", "axis"], ["bad_column"]),
        helper.make_node("Concat", ["bad_column", "good_column"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["index"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["index"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1],
            values_strings=["bad", "good"],
        ),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
    ]
    constants = [
        constant("zero", TensorProto.DOUBLE, [0.0]),
        constant("weight", TensorProto.FLOAT, [weight]),
        constant("one", TensorProto.FLOAT, [1.0]),
        constant("axis", TensorProto.INT64, [1]),
    ]
    graph = helper.make_graph(nodes, "credit", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
