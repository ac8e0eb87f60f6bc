"""Sensitive columns from Arrow to groups: of the data set's types, and of the log's."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from pellucid.schema import Column, Role, StorageType
from pellucid.sensitive import coded, cut_of, learn

WHEN = datetime(2024, 5, 31)


def column(kind: StorageType) -> Column:
    return Column(name="x", type=kind, role=Role.SENSITIVE)


@pytest.mark.parametrize(
    ("kind", "values", "names"),
    [
        (StorageType.STRING, pa.array(["m", "f", None, ""]), ("f", "m")),
        (StorageType.BOOL, pa.array([True, False, None]), ("false", "true")),
        (StorageType.INT64, pa.array([2, 1, None]), ("1", "2")),
        (StorageType.FLOAT64, pa.array([1.5, 2, None, float("nan")]), ("1.5", "2")),
        (StorageType.TIMESTAMP, pa.array([WHEN, None]), ("2024-05-31",)),
        (StorageType.STRING, pa.array([None, None], pa.string()), ()),
    ],
)
def test_training_rows_find_their_own_groups(
    kind: StorageType, values: pa.Array, names: tuple[str, ...]
) -> None:
    learnt = learn(column(kind), pa.chunked_array([values.slice(0, 1), values.slice(1)]))
    assert learnt is not None
    assert cut_of(learnt).names == (*names, "(other)", "(missing)")
    found = coded(learnt, values)
    missing = [value is None or value == "" or value != value for value in values.to_pylist()]
    assert [found.names[code] == "(missing)" for code in found.codes] == missing
    assert "(other)" not in [found.names[code] for code in found.codes]


def test_images_and_lists_tell_no_groups() -> None:
    assert learn(column(StorageType.BINARY), pa.array([b"x"])) is None
    assert learn(column(StorageType.LIST), pa.array([[1.0]])) is None


@pytest.mark.parametrize(
    ("kind", "training", "live", "expected"),
    [
        (StorageType.STRING, ["m", "f"], pa.array(["f", "x", None]), ["f", "(other)", "(missing)"]),
        (
            StorageType.STRING,
            ["m", "f"],
            pa.array(["f", None, "x"]).dictionary_encode(),
            ["f", "(missing)", "(other)"],
        ),
        (StorageType.STRING, ["m", "f"], pa.array([1.0, None]), ["(other)", "(missing)"]),
        (StorageType.STRING, ["m", "f"], pa.nulls(2), ["(missing)"] * 2),
        (StorageType.BOOL, [True, False], pa.array([True, None]), ["true", "(missing)"]),
        (StorageType.INT64, [1, 2], pa.array([1.0, 3.0, None]), ["1", "(other)", "(missing)"]),
        (StorageType.INT64, [*range(20)], pa.array([4, 19, 99]), ["to 4", "above 14", "above 14"]),
        (StorageType.INT64, [*range(20)], pa.array(["4", None]), ["(other)", "(missing)"]),
        (
            StorageType.TIMESTAMP,
            [WHEN],
            pa.array([WHEN.replace(tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            ["2024-05-31", "(missing)"],
        ),
    ],
)
def test_live_rows_find_the_groups_of_training(
    kind: StorageType, training: list[Any], live: pa.Array, expected: list[str]
) -> None:
    learnt = learn(column(kind), pa.array(training))
    assert learnt is not None
    found = coded(learnt, live)
    assert [found.names[code] for code in found.codes] == expected
    assert coded(learnt, live.slice(1)).codes.tolist() == found.codes.tolist()[1:]
    assert coded(learnt, live.slice(0, 0)).codes.tolist() == []
