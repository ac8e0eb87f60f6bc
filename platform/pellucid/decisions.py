"""Labels by thresholds of groups: the rule that `bundle.Decision` describes, in NumPy.

The probability of the positive class is compared to the threshold of the row's group; nothing else
depends on the group. A row whose group is missing, or had no threshold of its own, is compared to
the overall one.

Codes of a column's values: of strings the place among the input's categories; of numbers i where
edges[i-1] < v <= edges[i]; of booleans 0 and 1. The next number is missing or unknown.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from pellucid.bundle import Input, Manifest
from pellucid.schema import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

NEVER = 1.0000001192092896  # the float32 after 1: no probability reaches it


def edges_of(column: Input) -> tuple[float, ...]:
    """Where the groups of a column of numbers end."""
    return (0.5,) if column.kind is Kind.BOOLEAN else column.edges


def names_of(column: Input) -> tuple[str, ...]:
    """The groups of a column, by their codes."""
    if column.kind is Kind.CATEGORICAL:
        return column.categories
    if column.kind is Kind.BOOLEAN:
        return (f"not {column.name}", column.name)
    inner = [f"above {low:g} to {high:g}" for low, high in pairwise(column.edges)]
    return (f"up to {column.edges[0]:g}", *inner, f"above {column.edges[-1]:g}")


def shape_of(columns: Sequence[Input]) -> tuple[int, ...]:
    """How many codes each column has, missing among them."""
    return tuple(len(names_of(column)) + 1 for column in columns)


def groups_of(columns: Sequence[Input]) -> dict[int, str]:
    """Number -> name of each combination of the columns' groups."""
    import numpy as np

    shape = shape_of(columns)
    found = {}
    for codes in product(*(range(size - 1) for size in shape)):
        names = [names_of(column)[code] for column, code in zip(columns, codes, strict=True)]
        found[int(np.ravel_multi_index(codes, shape))] = ", ".join(names)
    return found


def numbers(columns: Sequence[Input], arrays: "Arrays") -> "NDArray[np.int64]":
    """(N,) the number of each row's combination: its codes, the last column's fastest.

    Args:
        columns: that tell the groups.
        arrays: of each (N,), as the model takes them: "" or NaN is missing.
    """
    import numpy as np

    codes = tuple(_codes(column, np.asarray(arrays[column.name])) for column in columns)
    return np.asarray(np.ravel_multi_index(codes, shape_of(columns)), dtype=np.int64)


def thresholds(manifest: Manifest, arrays: "Arrays") -> "NDArray[np.float32] | None":
    """(N,) of rows, on the probability of the positive class; None: the likelier class is taken."""
    import numpy as np

    decision = manifest.decision
    if decision is None:
        return None
    inputs = {each.name: each for each in manifest.inputs}
    columns = [inputs[name] for name in decision.columns]
    return np.array(decision.thresholds, np.float32)[numbers(columns, arrays)]


def _codes(column: Input, values: "NDArray[Any]") -> "NDArray[np.int64]":
    import numpy as np

    if column.kind is Kind.CATEGORICAL:
        places = {name: code for code, name in enumerate(column.categories)}
        return np.array([places.get(each, len(places)) for each in values.tolist()], np.int64)
    edges = np.array(edges_of(column))
    found = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), len(edges) + 1, found)
