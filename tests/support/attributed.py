"""Bundles of `support.serving` with an explain.onnx, made by hand, and a background.

The model's score is a sum over its columns, so its SHAP values are known: what a column adds for
the row less what it adds on average over the background. The graph may be made to miss them where
the purpose is a boat: then by `fault`, or, where it has steps, by `fault` divided by their number.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from pellucid.bundle import BACKGROUND, EXPLAINER, Bundle, Explanation
from support.serving import INPUTS, Feed, make_bundle, model_bytes

COLUMNS = tuple(each.name for each in INPUTS)
BACKGROUND_ROWS = 12
TOLERANCE = 1e-4
STEPS = 8
_TERMS = ("age_term", "owner_full", "since_term", "purpose_code")


def terms(feed: Feed) -> Any:
    """(rows, columns): what each column adds to the score, in NumPy."""
    purpose = [{"car": 1.0, "boat": -1.0}.get(str(each), 0.0) for each in feed["purpose"]]
    return np.stack(
        [
            np.nan_to_num(feed["age"], nan=40.0) / 40 - 1,
            np.nan_to_num(feed["owner"], nan=0.5),
            (np.nan_to_num(feed["since"] / (365.25 * 86400), nan=50.0) - 50) / 10,
            np.array(purpose),
        ],
        axis=1,
    )


def background() -> tuple[pa.Table, Feed, Any]:
    """Raw rows, the same as arrays, and weights that differ."""
    random = np.random.default_rng(5)
    feed = {
        "age": random.normal(40, 10, BACKGROUND_ROWS),
        "owner": random.integers(0, 2, BACKGROUND_ROWS).astype(float),
        "since": random.integers(1_000_000_000, 1_700_000_000, BACKGROUND_ROWS).astype(float),
        "purpose": random.choice(["car", "boat", "kite", ""], BACKGROUND_ROWS).astype(object),
    }
    feed["age"][2] = np.nan
    weights = random.uniform(1, 5, BACKGROUND_ROWS)
    return as_table(feed), feed, weights / weights.sum()


def as_table(feed: Feed) -> pa.Table:
    """Arrays as the columns of a data set."""
    return pa.table(
        {
            "age": pa.array(feed["age"], from_pandas=True),
            "owner": feed["owner"].astype(bool),
            "since": pa.array(feed["since"].astype(int)).cast(pa.timestamp("s", "UTC")),
            "purpose": [each or None for each in feed["purpose"]],
        }
    )


def shap_values(feed: Feed) -> Any:
    """(rows, columns): the true ones."""
    _, rows, weights = background()
    return terms(feed) - weights @ terms(rows)


def make_attributed_bundle(
    root: Path, *, fault: float = 0.0, steps: bool = False, bias: float = 0.0
) -> Bundle:
    """A sealed bundle with an explainer; `bias` is the model's."""
    bundle = make_bundle(root, bias=bias)
    table, feed, weights = background()
    pq.write_table(table.append_column("weight", pa.array(weights)), root / BACKGROUND)
    onnx.save(_model(bias, fault, steps), root / EXPLAINER)
    told = Explanation(
        method="gradients" if steps else "deep",
        columns=COLUMNS,
        outputs=("good",),
        unit="log-odds",
        base=(float(weights @ terms(feed).sum(axis=1)) + bias,),
        scale=(1.0,),
        background=BACKGROUND_ROWS,
        tolerance=TOLERANCE,
        steps=STEPS if steps else 0,
    )
    return Bundle.seal(root, bundle.manifest.model_copy(update={"explanation": told}))


def _model(bias: float, fault: float, steps: bool) -> onnx.ModelProto:
    model = onnx.load_from_string(model_bytes("classification", bias))
    _, feed, weights = background()
    means = weights @ terms(feed)
    constants = {
        "means": means,
        "mean_score": np.array([[means.sum() + bias]]),
        "last_axis": np.array([-1]),
        "columns_axis": np.array([1]),
        "fault": np.array(fault),
        "only_purpose": np.array([0.0, 0.0, 0.0, 1.0]),
        "boat": np.array([-1.0]),
    }
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    if steps:
        shares = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(shares, "explain/shares"))
        kind = TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info("explain/shares", kind, ["steps"]))
    graph.node.extend(_nodes(steps))
    shapes = {"explained": ["rows", 1], "shap": ["rows", 4, 1], "base": ["rows", 1]}
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (shapes | {"gap": ["rows", 1]}).items()
    )
    return model


def _nodes(steps: bool) -> list[onnx.NodeProto]:
    node, columns = helper.make_node, [f"{name}_column" for name in _TERMS]
    nodes = [node("Unsqueeze", [t, "last_axis"], [c]) for t, c in zip(_TERMS, columns, strict=True)]
    if steps:
        nodes += [
            node("Size", ["explain/shares"], ["count"]),
            node("Cast", ["count"], ["count64"], to=TensorProto.DOUBLE),
            node("Div", ["fault", "count64"], ["error"]),
        ]
    return [
        *nodes,
        node("Concat", columns, ["terms"], axis=1),
        node("Sub", ["terms", "means"], ["exact"]),
        node("Equal", ["purpose_code_column", "boat"], ["is_boat"]),
        node("Cast", ["is_boat"], ["boat64"], to=TensorProto.DOUBLE),
        node("Mul", ["boat64", "error" if steps else "fault"], ["row_fault"]),
        node("Mul", ["row_fault", "only_purpose"], ["faults"]),
        node("Add", ["exact", "faults"], ["values"]),
        node("Unsqueeze", ["values", "last_axis"], ["values64"]),
        node("Cast", ["values64"], ["shap"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["score", "last_axis"], ["score_column"]),
        node("Cast", ["score_column"], ["explained"], to=TensorProto.FLOAT),
        node("Shape", ["score_column"], ["shape"]),
        node("Expand", ["mean_score", "shape"], ["base64"]),
        node("Cast", ["base64"], ["base"], to=TensorProto.FLOAT),
        node("ReduceSum", ["values64", "columns_axis"], ["summed"], keepdims=0),
        node("Add", ["base64", "summed"], ["told"]),
        node("Sub", ["told", "score_column"], ["missed"]),
        node("Abs", ["missed"], ["gap64"]),
        node("Cast", ["gap64"], ["gap"], to=TensorProto.FLOAT),
    ]
