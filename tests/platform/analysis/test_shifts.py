"""Importance of two models compared by its parts of the whole."""

import math

import pytest

from pellucid.analysis.shifts import compare_importance


def test_only_parts_of_the_whole_count():
    found = compare_importance({"a": 3, "b": 1}, {"a": 300, "b": 100})
    assert found.moved == 0
    assert found.agreement == pytest.approx(1)


def test_columns_come_and_go():
    found = compare_importance({"a": 1, "b": 1}, {"b": 1, "c": 3})
    assert {each.column: each.change for each in found.columns} == {
        "c": 0.75,
        "a": -0.5,
        "b": -0.25,
    }
    assert [each.column for each in found.columns] == ["c", "a", "b"]
    assert found.moved == pytest.approx(0.75)


def test_nothing_is_known_of_one():
    found = compare_importance({}, {"a": 2.0})
    assert found.columns[0].new == 1
    assert math.isnan(found.moved)
    assert math.isnan(found.agreement)
    assert compare_importance({}, {}).columns == []
