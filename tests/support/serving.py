"""The service on a port of its own in this process, and bundles with a column of every kind."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from onnx import TensorProto, helper

from pellucid.bundle import CARD, MODEL, PARITY, Bundle, Datatype, Input, Manifest, Output, Parity
from pellucid.db.base import Base
from pellucid.schema import Kind
from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.app import create_app
from pellucid_api.server import configured
from pellucid_api.services import Services

INPUTS = (
    Input.of("age", Kind.NUMERIC),
    Input.of("owner", Kind.BOOLEAN),
    Input.of("since", Kind.DATETIME),
    Input.of("purpose", Kind.CATEGORICAL, ("boat", "car")),
)
CLASSES = ("bad", "good")
ROW: dict[str, Any] = {"age": 41, "owner": True, "since": "2024-05-31T12:00:00Z", "purpose": "car"}
Feed = dict[str, Any]


def expected_score(feed: Feed, bias: float) -> Any:
    """What the test models compute, in NumPy."""
    years = np.nan_to_num(feed["since"] / (365.25 * 86400), nan=50.0) - 50
    purpose = np.array([{"car": 1.0, "boat": -1.0}.get(str(p), 0.0) for p in feed["purpose"]])
    age = np.nan_to_num(feed["age"], nan=40.0) / 40 - 1
    owner = np.nan_to_num(feed["owner"], nan=0.5)
    return age + owner + years / 10 + purpose + bias


def probabilities(feed: Feed, bias: float = 0.0) -> Any:
    """Of the classes bad and good, shape (rows, 2)."""
    good = 1 / (1 + np.exp(-expected_score(feed, bias)))
    return np.stack([1 - good, good], axis=1)


def held_feed(rows: list[dict[str, Any]]) -> Feed:
    """The arrays that rows stand for."""
    return {
        "age": np.array([row["age"] for row in rows], dtype=float),
        "owner": np.array([row["owner"] for row in rows], dtype=float),
        "since": np.array([datetime.fromisoformat(row["since"]).timestamp() for row in rows]),
        "purpose": [row["purpose"] or "" for row in rows],
    }


def parity_feed(rows: int = 32) -> Feed:
    """Rows with missing values and an unknown category."""
    random = np.random.default_rng(0)
    feed = {
        "age": random.normal(40, 10, rows),
        "owner": random.integers(0, 2, rows).astype(float),
        "since": random.uniform(1e9, 1.7e9, rows),
        "purpose": random.choice(["car", "boat", "kite", ""], rows),
    }
    for name in ("age", "owner", "since"):
        feed[name][random.random(rows) < 0.2] = np.nan
    return feed


def _score_nodes() -> list[Any]:
    node = helper.make_node
    nodes = []
    for name, fill in (("age", 40.0), ("owner", 0.5), ("since", 50 * 365.25 * 86400)):
        nodes.append(node("IsNaN", [name], [f"{name}_missing"]))
        nodes.append(node("Constant", [], [f"{name}_fill"], value_float=fill))
        nodes.append(node("Cast", [f"{name}_fill"], [f"{name}_fill64"], to=TensorProto.DOUBLE))
        nodes.append(node("Where", [f"{name}_missing", f"{name}_fill64", name], [f"{name}_full"]))
    nodes.append(
        node(
            "LabelEncoder", ["purpose"], ["purpose32"], domain="ai.onnx.ml",
            keys_strings=["car", "boat"], values_floats=[1.0, -1.0], default_float=0.0,
        )
    )  # fmt: skip
    nodes.append(node("Cast", ["purpose32"], ["purpose_code"], to=TensorProto.DOUBLE))
    nodes += [
        node("Div", ["age_full", "forty"], ["age_scaled"]),
        node("Sub", ["age_scaled", "one"], ["age_term"]),
        node("Div", ["since_full", "decade"], ["since_scaled"]),
        node("Sub", ["since_scaled", "five"], ["since_term"]),
        node("Sum", ["age_term", "owner_full", "since_term", "purpose_code", "bias"], ["score"]),
    ]
    return nodes


def _classification_nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Sigmoid", ["score"], ["good64"]),
        node("Sub", ["one", "good64"], ["bad64"]),
        node("Unsqueeze", ["good64", "axis"], ["good_column"]),
        node("Unsqueeze", ["bad64", "axis"], ["bad_column"]),
        node("Concat", ["bad_column", "good_column"], ["both"], axis=1),
        node("Cast", ["both"], ["probabilities"], to=TensorProto.FLOAT),
        node("ArgMax", ["both"], ["index"], axis=1, keepdims=0),
        node("Gather", ["classes", "index"], ["label"]),
    ]


def model_bytes(task: str, bias: float) -> bytes:
    """The network as ONNX."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    made = helper.make_model(model_graph(task, bias), opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


def model_graph(task: str, bias: float) -> Any:
    """The network's graph; `score` is the log-odds of the class good, or the value."""
    double, tensor = TensorProto.DOUBLE, helper.make_tensor
    nodes = _score_nodes()
    if task == "classification":
        nodes += _classification_nodes()
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
        ]
    else:
        nodes.append(helper.make_node("Cast", ["score"], ["value"], to=TensorProto.FLOAT))
        outputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["rows"])]
    constants = {"forty": 40.0, "one": 1.0, "decade": 3652.5 * 86400, "five": 5.0, "bias": bias}
    initializers = [tensor(name, double, [], [value]) for name, value in constants.items()]
    initializers.append(tensor("axis", TensorProto.INT64, [1], [1]))
    initializers.append(tensor("classes", TensorProto.STRING, [2], [c.encode() for c in CLASSES]))
    types = [TensorProto.STRING if i.kind is Kind.CATEGORICAL else double for i in INPUTS]
    inputs = [
        helper.make_tensor_value_info(i.name, t, ["rows"])
        for i, t in zip(INPUTS, types, strict=True)
    ]
    return helper.make_graph(nodes, "credit", inputs, outputs, initializers)


def make_bundle(
    root: Path,
    *,
    task: str = "classification",
    bias: float = 0.0,
    claimed_bias: float | None = None,
    sensitive: tuple[Input, ...] = (),
    plan: dict[str, Any] | None = None,
) -> Bundle:
    """A sealed bundle. With a `claimed_bias` the parity rows belong to another model."""
    root.mkdir(parents=True, exist_ok=True)
    feed = parity_feed()
    claimed = bias if claimed_bias is None else claimed_bias
    if task == "classification":
        shares = probabilities(feed, claimed)
        label = np.array(CLASSES)[shares.argmax(axis=1)]
        expected = {"label": label, "probabilities": shares.astype(np.float32)}
        outputs = (
            Output(name="label", datatype=Datatype.BYTES, shape=(-1,)),
            Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, 2)),
        )
    else:
        expected = {"value": expected_score(feed, claimed).astype(np.float32)}
        outputs = (Output(name="value", datatype=Datatype.FP32, shape=(-1,)),)
    (root / MODEL).write_bytes(model_bytes(task, bias))
    (root / CARD).write_text("# Credit\n\nA model card.\n")
    arrays = {f"input:{name}": values for name, values in feed.items()}
    np.savez(root / PARITY, **arrays, **{f"output:{n}": v for n, v in expected.items()})
    manifest = Manifest(
        name="credit",
        task=task,
        target="bad",
        classes=CLASSES if task == "classification" else (),
        positive_class="good" if task == "classification" else None,
        inputs=INPUTS,
        sensitive=sensitive,
        outputs=outputs,
        opset=17,
        files={},
        parity=Parity(rows=32, tolerance=1e-5, max_error=1e-7),
        metrics={"roc_auc": 0.8},
        data_version="d" * 64,
        job_id="job-1",
        created=datetime.now(UTC).isoformat(),
        plan=plan or {},
        environment={},
    )
    return Bundle.seal(root, manifest)


def build_services(settings: Settings, registry: MemoryTracker) -> Services:
    """The services, with the tables created."""
    services = Services.build(settings, registry)
    Base.metadata.create_all(services.database.engine)
    return services


class ServiceClient(httpx.Client):
    """A client of a running service, which can look behind it."""

    def __init__(self, url: str, services: Services) -> None:
        super().__init__(base_url=url, timeout=30)
        self.services = services


@contextmanager
def serving(settings: Settings, registry: MemoryTracker, **options: Any) -> Iterator[ServiceClient]:
    """A service, its first models loaded, until the end of the block; options are uvicorn's."""
    app = create_app(settings, lambda s: build_services(s, registry))
    config = configured(app, settings, **{"port": 0, "timeout_graceful_shutdown": 5} | options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="service")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.005)
        assert app.state.services.pool.settled.wait(60), "the first models were not loaded"
        port = server.servers[0].sockets[0].getsockname()[1]
        with ServiceClient(f"http://127.0.0.1:{port}", app.state.services) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
