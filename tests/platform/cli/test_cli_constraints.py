"""Constraints as options of commands."""

import pytest
import typer

from pellucid.cli.constraints import read_constraints


def test_changes_and_bounds():
    texts = ["age=never", "amount=increase", "amount=250..5000.5", "rate=..4", "a=b=-1..", "x=free"]
    assert read_constraints(texts) == {
        "age": {"change": "never"},
        "amount": {"change": "increase", "low": 250.0, "high": 5000.5},
        "rate": {"high": 4.0},
        "a=b": {"low": -1.0},
        "x": {"change": "free"},
    }
    assert read_constraints(None) == {}


@pytest.mark.parametrize("text", ["age", "=never", "age=", "age=up", "age=..", "age=1", "age=a..b"])
def test_what_is_none(text):
    with pytest.raises(typer.BadParameter, match=r"use one of|is not COLUMN"):
        read_constraints([text])
