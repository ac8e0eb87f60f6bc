"""explain.onnx by hand, for the linear models of `support.serving`: shap = term - its mean."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from pellucid.bundle import AMORTIZED, EXPLAINER, Bundle, Explanation
from support import serving
from support.serving import CLASSES, INPUTS, held_feed

TERMS = {
    "age": "age_term",
    "owner": "owner_full",
    "since": "since_term",
    "purpose": "purpose_code",
}
MEANS = {"age": 0.1, "owner": 0.4, "since": -0.2, "purpose": 0.3}
STEPS = 4


def expected_shap(rows: list[dict[str, Any]]) -> np.ndarray:
    """(rows, columns): what the graph gives, in NumPy."""
    feed = held_feed(rows)
    terms = [
        np.nan_to_num(feed["age"], nan=40.0) / 40 - 1,
        np.nan_to_num(feed["owner"], nan=0.5),
        (feed["since"] / (365.25 * 86400) - 50) / 10,
        np.array([{"car": 1.0, "boat": -1.0}.get(each, 0.0) for each in feed["purpose"]]),
    ]
    return np.stack(terms, axis=1) - np.array(list(MEANS.values()))


def explainer_bytes(task: str, bias: float, *, error: float = 0.0) -> bytes:
    """The network and its SHAP values as ONNX.

    Args:
        task: classification or regression.
        bias: of the score.
        error: the first column's value is wrong by this over the number of steps; other than 0,
            the graph takes `explain/shares`.
    """
    double, tensor, node = TensorProto.DOUBLE, helper.make_tensor, helper.make_node
    own = serving.model_graph(task, bias)
    nodes = list(own.node)
    columns = []
    for name, term in TERMS.items():
        nodes.append(node("Sub", [term, f"{name}_mean"], [f"{name}_shap"]))
        columns.append(f"{name}_shap")
    if error:
        nodes += [
            node("Size", ["explain/shares"], ["steps64"]),
            node("Cast", ["steps64"], ["steps"], to=double),
            node("Div", ["error", "steps"], ["wrong"]),
            node("Add", ["age_shap", "wrong"], ["age_wrong"]),
        ]
        columns[0] = "age_wrong"
    nodes += [node("Unsqueeze", [name, "last"], [f"{name}_column"]) for name in columns]
    nodes += [
        node("Concat", [f"{name}_column" for name in columns], ["shap_matrix"], axis=1),
        node("Unsqueeze", ["shap_matrix", "second"], ["shap64"]),
        node("Unsqueeze", ["score", "last"], ["explained64"]),
        node("Mul", ["explained64", "zero"], ["zeros"]),
        node("Add", ["zeros", "base_value"], ["base64"]),
        node("ReduceSum", ["shap_matrix", "last"], ["summed"], keepdims=1),
        node("Add", ["summed", "base64"], ["added"]),
        node("Sub", ["added", "explained64"], ["missing"]),
        node("Abs", ["missing"], ["gap64"]),
    ]
    results = ["explained", "shap", "base", "gap"]
    nodes += [node("Cast", [f"{name}64"], [name], to=TensorProto.FLOAT) for name in results]
    shapes = [["rows", 1], ["rows", 4, 1], ["rows", 1], ["rows", 1]]
    outputs = [*own.output] + [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(results, shapes, strict=True)
    ]
    constants = {f"{name}_mean": mean for name, mean in MEANS.items()}
    constants |= {"base_value": sum(MEANS.values()) + bias, "zero": 0.0, "error": error}
    initializers = [*own.initializer]
    initializers += [tensor(name, double, [], [value]) for name, value in constants.items()]
    initializers.append(tensor("last", TensorProto.INT64, [1], [1]))
    initializers.append(tensor("second", TensorProto.INT64, [1], [2]))
    inputs = [*own.input]
    if error:
        shares = (np.arange(STEPS) + 0.5) / STEPS
        initializers.append(tensor("explain/shares", TensorProto.FLOAT, [STEPS], shares))
        inputs.append(helper.make_tensor_value_info("explain/shares", TensorProto.FLOAT, ["steps"]))
    graph = helper.make_graph(nodes, "explained", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def explained_bundle(
    root: Path,
    *,
    task: str = "classification",
    bias: float = 0.0,
    error: float = 0.0,
    amortized: bool = False,
    tolerance: float = 1e-4,
    **bundle: Any,
) -> Bundle:
    """A bundle of `support.serving` that explains itself."""
    made = serving.make_bundle(root, task=task, bias=bias, **bundle)
    (root / EXPLAINER).write_bytes(explainer_bytes(task, bias, error=error))
    if amortized:
        (root / AMORTIZED).write_bytes(explainer_bytes(task, bias))
    told = Explanation(
        method="gradients" if error else "deep",
        columns=tuple(each.name for each in INPUTS),
        outputs=(CLASSES[1],) if task == "classification" else ("bad",),
        unit="log-odds" if task == "classification" else "bad",
        base=(sum(MEANS.values()) + bias,),
        scale=(1.0,),
        background=100,
        tolerance=tolerance,
        steps=STEPS if error else 0,
        quality={"infidelity": 0.01},
        amortized={"r2": 0.99} if amortized else None,
    )
    return Bundle.seal(root, made.manifest.model_copy(update={"explanation": told}))
