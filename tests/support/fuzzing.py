"""Coverage-guided fuzzing of one codec by atheris: `python -m support.fuzzing CODEC SECONDS SEEDS`.

Whatever the bytes, a codec gives arrays of at most `MOST_ROWS` rows or raises an error of ours,
within seconds and within memory: libFuzzer stops at anything else, and writes the input down.
"""

import json
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import atheris
import numpy as np
import pyarrow as pa

with atheris.instrument_imports(include=["pellucid_api"], enable_loader_override=False):
    from pellucid.bundle import Datatype, Input, Output
    from pellucid.errors import PellucidError
    from pellucid.schema import Kind
    from pellucid_api.engine.feeds import Layout
    from pellucid_api.engine.sensitive import Sensitive
    from pellucid_api.engine.streams import write_stream
    from pellucid_api.plane.invocations import InvocationsCodec
    from pellucid_api.plane.rows import RowsCodec
    from pellucid_api.plane.tensors import TensorsCodec
    from pellucid_api.rpc.codec import RpcCodec
    from pellucid_api.rpc.messages import ModelInferRequest

MOST_ROWS = 50
_LIMITS = ("-timeout=20", "-rss_limit_mb=3072", "-malloc_limit_mb=1024", "-max_len=4096")
TABLE = (
    Input.of("age", Kind.NUMERIC),
    Input.of("owner", Kind.BOOLEAN),
    Input.of("since", Kind.DATETIME),
    Input.of("größe", Kind.CATEGORICAL, ("a",)),
    Input.of("load", Kind.SEQUENCE, shape=(3,)),
)
TENSORS = (
    Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(2, -1)),
    Input(name="n", kind=Kind.TENSOR, datatype=Datatype.INT8),
    Input(name="s", kind=Kind.TENSOR, datatype=Datatype.BYTES, shape=(-1,)),
)
SENSITIVE = (Input.of("sex", Kind.CATEGORICAL), Input.of("born", Kind.DATETIME))
ROWS: dict[str, list[dict[str, Any]]] = {
    "table": [
        {"age": 1.5, "owner": True, "since": "2024-05-31T12:00:00Z", "größe": "a", "load": [1, 2]},
        dict.fromkeys(("age", "owner", "since", "größe", "load", "sex")) | {"born": "1985-02-03"},
    ],
    "tensors": [
        {"x": [[1.0], [2.0]], "n": 1, "s": ["a", "b"]},
        {"x": [[3.0], [4.0]], "n": -1, "s": ["", "ü"]},
    ],
}


def _served(task: str, inputs: tuple[Input, ...], sensitive: tuple[Input, ...] = ()) -> Any:
    output = Output(name="y", datatype=Datatype.FP32, shape=(-1,))
    manifest = SimpleNamespace(
        task=task, inputs=inputs, sensitive=sensitive, outputs=(output,), classes=()
    )
    model = SimpleNamespace(manifest=manifest, tokenizer=None)
    found = SimpleNamespace(name="m", version=1, model=model, layout=Layout(inputs))
    found.sensitive = Sensitive(manifest)  # type: ignore[arg-type]
    found.kept = lambda _, make: make(found)
    return found


SERVED = {"table": _served("regression", TABLE, SENSITIVE), "tensors": _served("other", TENSORS)}


MARKS = {"table": b"-", "tensors": b"+"}  # the first byte says which model is asked


class Target(NamedTuple):
    """A codec, the seeds for each model, and headers; `split` reads a length before the body."""

    codec: Any
    seeds: dict[str, list[bytes]]
    headers: dict[bytes, bytes]
    split: bool = False


def _json() -> dict[str, list[bytes]]:
    def forms(rows: list[dict[str, Any]]) -> list[Any]:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        split = {"columns": list(columns), "data": [list(row.values()) for row in rows]}
        return [
            rows,
            {"rows": rows},
            {"columns": columns},
            split,
            {"dataframe_split": split},
            {"dataframe_records": rows},
            {"instances": rows},
            {"inputs": columns},
        ]

    return {name: [json.dumps(each).encode() for each in forms(r)] for name, r in ROWS.items()}


def _csv() -> dict[str, list[bytes]]:
    return {
        "table": [
            'age,owner,since,größe,load\n1.5,yes,2024-05-31,"a ""b""","[1]"\n,,,,\n'.encode()
        ],
        "tensors": [b'x;n;s\n"[[1],[2]]";1;"[""a""]"\n"[[3],[4]]";2;"[""b""]"\n'],
    }


def _arrow() -> dict[str, list[bytes]]:
    tables = {name: pa.Table.from_pylist(rows) for name, rows in ROWS.items()}
    return {name: [write_stream(table)] for name, table in tables.items()}


def _tensors(name: str) -> list[tuple[str, str, list[int], list[Any]]]:
    if name == "tensors":
        return [
            ("x", "FP32", [2, 2, 1], [1.0, 2.0, 3.0, 4.0]),
            ("n", "INT8", [2], [1, -1]),
            ("s", "BYTES", [2, 2], ["a", "b", "", "ü"]),
        ]
    return [
        ("age", "FP64", [2], [1.5, 2.5]),
        ("owner", "BOOL", [2], [True, False]),
        ("since", "INT64", [2, 1], [1, 2]),
        ("größe", "BYTES", [2], ["a", ""]),
        ("load", "FP32", [2, 2], [1.0, 2.0, 3.0, 4.0]),
    ]


def _packed(values: list[Any], datatype: str) -> bytes:
    if datatype != "BYTES":
        kinds = {"FP32": "f4", "FP64": "f8", "INT8": "i1", "INT64": "i8", "BOOL": "?"}
        return np.array(values, kinds[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)


def _oip() -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for model in SERVED:
        given = [dict(zip(("name", "datatype", "shape", "data"), each, strict=True))
                 for each in _tensors(model)]  # fmt: skip
        tail = b"".join(_packed(each["data"], each["datatype"]) for each in given)
        sized = [
            {key: each[key] for key in ("name", "datatype", "shape")}
            | {"parameters": {"binary_data_size": len(_packed(each["data"], each["datatype"]))}}
            for each in given
        ]
        outputs = [{"name": "y", "parameters": {"binary_data": True, "classification": 1}}]
        text = json.dumps({"inputs": given, "outputs": outputs, "id": "7"}).encode()
        header = json.dumps({"inputs": sized, "parameters": {"timeout": 5}}).encode()
        found[model] = [bytes(2) + text, struct.pack("<H", len(header)) + header + tail]
    return found


def _rpc() -> dict[str, list[bytes]]:
    fields = {"FP32": "fp32", "FP64": "fp64", "INT8": "int", "INT64": "int64", "BOOL": "bool"}
    found: dict[str, list[bytes]] = {}
    for model in SERVED:
        typed, raw = ModelInferRequest(model_name="m"), ModelInferRequest(model_name="m")
        for name, datatype, shape, values in _tensors(model):
            given = typed.inputs.add(name=name, datatype=datatype, shape=shape)
            texts = [value.encode() for value in values] if datatype == "BYTES" else values
            getattr(given.contents, f"{fields.get(datatype, 'bytes')}_contents").extend(texts)
            raw.inputs.add(name=name, datatype=datatype, shape=shape)
            raw.raw_input_contents.append(_packed(values, datatype))
        found[model] = [typed.SerializeToString(), raw.SerializeToString()]
    return found


ARROW = {b"content-type": b"application/vnd.apache.arrow.stream"}
TARGETS: dict[str, Callable[[], Target]] = {
    "rows": lambda: Target(RowsCodec(MOST_ROWS), _json(), {b"content-type": b"application/json"}),
    "csv": lambda: Target(RowsCodec(MOST_ROWS), _csv(), {b"content-type": b"text/csv"}),
    "arrow": lambda: Target(RowsCodec(MOST_ROWS), _arrow(), ARROW),
    "invocations": lambda: Target(InvocationsCodec(MOST_ROWS), _json(), {}),
    "tensors": lambda: Target(TensorsCodec(MOST_ROWS), _oip(), {}, split=True),
    "rpc": lambda: Target(RpcCodec(MOST_ROWS), _rpc(), {}),
}


def _checked(target: Target) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        headers, body = target.headers, data[1:]
        if target.split:
            length, body = int.from_bytes(body[:2], "little"), body[2:]
            headers = {b"inference-header-content-length": b"%d" % length} if length else headers
        served = SERVED["tensors" if data[:1] == MARKS["tensors"] else "table"]
        with suppress(PellucidError):
            question = target.codec.decode(served, headers, body)
            feed, beside = question.feed, question.sensitive
            assert 0 < feed.rows <= MOST_ROWS
            assert beside is None or beside.rows == feed.rows
            assert feed.numbers.shape[1:] in ((feed.rows,), (0,))
            assert all(len(tensor) == feed.rows for tensor in feed.tensors)

    return run


def main(name: str, seconds: str, seeds: str) -> None:
    """Fuzz until the time is over; exits with another status than 0 at a finding."""
    target = TARGETS[name]()
    for model, bodies in target.seeds.items():
        for number, body in enumerate(bodies):
            Path(seeds, f"{model}-{number}").write_bytes(MARKS[model] + body)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={seeds}/", *_LIMITS]
    atheris.Setup([sys.argv[0], *options, seeds], _checked(target))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
