"""The rule in ONNX: which class a row is given, from its probabilities and its raw columns."""

from typing import Any, NamedTuple

import numpy as np
from onnx import helper, numpy_helper

from pellucid.bundle import Datatype, Input
from pellucid.decisions import edges_of, shape_of
from pellucid_pipelines.mitigation.deciding import Rule


class Ruled(NamedTuple):
    """Nodes and constants that give `chosen`, int64 (rows,): the class of each row."""

    nodes: list[Any]
    constants: list[Any]
    chosen: str


def ruled(rule: Rule, probabilities: str, prefix: str) -> Ruled:
    """The part of a graph that decides.

    Args:
        rule: whose columns are inputs of the graph, double or string (rows,).
        probabilities: name of a float tensor (rows, 2).
        prefix: of all names, which nothing else has.
    """
    return _Writer(rule, f"{prefix}decision/").write(probabilities)


class _Writer:
    def __init__(self, rule: Rule, prefix: str) -> None:
        self.rule, self.prefix = rule, prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def write(self, probabilities: str) -> Ruled:
        positive = self._integer("positive", self.rule.positive)
        other = self._integer("other", 1 - self.rule.positive)
        table = self._constant("thresholds", self.rule.thresholds)
        threshold = self._node("Gather", [table, self._number()])
        score = self._node("Gather", [probabilities, positive], axis=1)
        yes = self._node("GreaterOrEqual", [score, threshold])
        return Ruled(self.nodes, self.constants, self._node("Where", [yes, positive, other]))

    def _number(self) -> str:
        """(rows,) the number of each row's combination of codes, the last column's fastest."""
        found = ""
        for i, (column, size) in enumerate(
            zip(self.rule.columns, shape_of(self.rule.columns), strict=True)
        ):
            code = self._code(column, i)
            if found:
                found = self._node("Mul", [found, self._integer(f"size/{i}", size)])
                code = self._node("Add", [found, code])
            found = code
        return found

    def _code(self, column: Input, i: int) -> str:
        if column.datatype is Datatype.BYTES:
            known = list(column.categories)
            return self._node(
                "LabelEncoder",
                [column.name],
                domain="ai.onnx.ml",
                keys_strings=known,
                values_int64s=list(range(len(known))),
                default_int64=len(known),
            )
        edges = np.array(edges_of(column), np.float64)
        axis = self._constant(f"axis/{i}", np.array([1], np.int64))
        values = self._node("Unsqueeze", [column.name, axis])
        beyond = self._node("Greater", [values, self._constant(f"edges/{i}", edges)])
        counted = self._node("Cast", [beyond], to=helper.np_dtype_to_tensor_dtype(np.dtype("i8")))
        code = self._node("ReduceSum", [counted, axis], keepdims=0)
        missing = self._node("IsNaN", [column.name])
        unknown = self._integer(f"missing/{i}", len(edges) + 1)
        return self._node("Where", [missing, unknown, code])

    def _integer(self, name: str, value: int) -> str:
        return self._constant(name, np.array(value, np.int64))

    def _constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), self.prefix + name))
        return self.prefix + name

    def _node(self, kind: str, given: list[str], **attributes: Any) -> str:
        name = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [name], **attributes))
        return name
