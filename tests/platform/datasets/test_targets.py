"""A target that cannot be learnt from is refused before a job is taken."""

from typing import Any

import pyarrow as pa
import pytest

from pellucid.datasets.targets import check_target
from pellucid.errors import InvalidData

REFUSED: list[tuple[list[Any], str, dict[str, Any], str]] = [
    ([None, None], "classification", {}, "no value in any row"),
    ([1.0, None, 2.0, None], "regression", {"row": 2}, "missing in 2 of 4 rows"),
    (["a", "a"], "classification", {}, "'a' in every row"),
    ([2.5, 2.5, 2.5], "regression", {}, "2.5 in every row"),
    (["a", "a", "b", "a"], "classification", {"row": 3}, "one row only: 'b'"),
    (["a", "b", "c", "c"], "classification", {}, "3 classes in 4 rows"),
    ([1, 2, 3, 4], "classification", {}, "4 classes in 4 rows"),
    ([[1.0, 2.0], [3.0]], "regression", {"row": 2}, "have 2 and 1 numbers"),
    ([[], []], "regression", {"row": 1}, "lists are empty"),
    ([[1.0, 2.0], [3.0, None]], "regression", {"row": 2}, "missing or infinite"),
    ([[1.0, 2.0], [3.0, float("inf")]], "regression", {"row": 2}, "missing or infinite"),
    ([[1.0, 2.0], [1.0, 2.0]], "regression", {}, "the same in every row"),
    ([[1.0, 2.0], None], "regression", {"row": 2}, "missing in 1 of 2 rows"),
]


@pytest.mark.parametrize(("values", "task", "where", "says"), REFUSED)
def test_refused(values: list[Any], task: str, where: dict[str, Any], says: str) -> None:
    kind = pa.string() if values[0] is None else None
    kind = pa.list_(pa.float64()) if isinstance(values[0], list) else kind
    column = pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)])
    with pytest.raises(InvalidData) as caught:
        check_target(column, task, name="y")
    assert says in caught.value.message
    assert caught.value.where == {"column": "y"} | where
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", "a", "b"], "classification"),
        ([True, False, True, False], "classification"),
        ([1.5, 2.5], "regression"),
        ([1, 2, 3], "regression"),
        ([[1.0, 2.0], [1.0, 3.0]], "regression"),
    ],
)
def test_accepted(values: list[Any], task: str) -> None:
    check_target(pa.chunked_array([pa.array(values)]), task)
